import pytest

from segcore.ablation import load_ablation
from segcore.errors import UserError
from segcore.plan import Facts, expand


def facts(config):
    """Facts of a machine without CUDA, whose dataset is told by its folder."""
    precision = "float32" if config.trainer.precision == "auto" else config.trainer.precision
    unavailable = "needs CUDA" if precision == "float16" else None
    return Facts(f"content of {config.data.root}", precision, unavailable)


def plan_of(path, only=(), **request):
    return expand(load_ablation(path, **request), facts, only)


def fingerprints(path, *overrides):
    return [run.fingerprint for run in plan_of(path, overrides=overrides).runs]


def test_a_plan_has_every_arm_on_every_seed_seed_by_seed(write_ablation):
    plan = plan_of(write_ablation())
    assert [run.name for run in plan.runs] == ["large, seed 1", "small, seed 1", "large, seed 2", "small, seed 2"]
    assert len({run.fingerprint for run in plan.runs}) == 4
    assert plan.differences == {"large": {"optimizer.lr": 1e-3}, "small": {"optimizer.lr": 1e-4}}


@pytest.mark.parametrize(
    "override",
    [
        "trainer.epochs=3",
        "data.image_size=64",
        "data.batch_size=4",
        "data.root=elsewhere",
        "data.border=ignore",
        "data.split_seed=1",
        "trainer.clip_norm=1",
        "trainer.precision=bfloat16",
        "evaluation.threshold=0.4",
        "scheduler.eta_min=0",
    ],
)
def test_what_can_change_the_result_changes_every_fingerprint_and_the_plan(write_ablation, override):
    path = write_ablation()
    assert not set(fingerprints(path)) & set(fingerprints(path, override))
    assert plan_of(path).plan != plan_of(path, overrides=[override]).plan


@pytest.mark.parametrize(
    "override",
    [
        "execution.threads=1",
        "execution.device=cpu",
        "evaluation.batch_size=4",
        "data.cache_dir=elsewhere",
        "data.max_skipped_fraction=0.5",
        "trainer.precision=float32",  # what auto means here
        "optimizer.momentum=0.5",  # adamw has none
        "scheduler.gamma=0.5",  # cosine has none
        "data.test_fraction=0.5",  # the pets have an official test list
    ],
)
def test_what_cannot_change_the_result_changes_no_fingerprint(write_ablation, override):
    path = write_ablation()
    assert fingerprints(path) == fingerprints(path, override)
    assert plan_of(path).plan == plan_of(path, overrides=[override]).plan


def test_the_plan_depends_on_neither_seeds_nor_arms(write_ablation):
    whole = plan_of(write_ablation())
    arms = {"large": {"optimizer.lr": 1e-3}, "third": {"optimizer.lr": 1e-2}}
    other = plan_of(write_ablation("other.yaml", seeds=[5], arms=arms, hypotheses=None))
    assert whole.plan == other.plan


def test_the_same_settings_have_the_same_fingerprint_in_another_ablation(write_ablation):
    by_rate = plan_of(write_ablation())
    by_model = plan_of(
        write_ablation(
            "other.yaml",
            settings={"optimizer.lr": 1e-3},
            factor="model.name",
            arms={"unet": {"model.name": "unet"}, "resnet": {"model.name": "resnet34_unet"}},
            hypotheses=None,
        )
    )
    shared = {run.fingerprint for run in by_rate.runs} & {run.fingerprint for run in by_model.runs}
    assert shared == {run.fingerprint for run in by_rate.runs if run.arm == "large"}


def test_arms_that_differ_in_the_evaluation_share_their_training(write_ablation):
    arms = {"chosen": {"evaluation.threshold": "validation"}, "fixed": {"evaluation.threshold": 0.4}}
    plan = plan_of(write_ablation(factor="evaluation.threshold", arms=arms, seeds=[1], hypotheses=None))
    chosen, fixed = plan.runs
    assert chosen.fingerprint != fixed.fingerprint
    assert chosen.training_fingerprint == fixed.training_fingerprint


@pytest.mark.parametrize(
    ("factor", "arms", "note"),
    [
        ("optimizer.lr", {"a": {"optimizer.lr": 1e-3}, "b": {"optimizer.lr": 1e-3}}, ""),
        *(
            (key, {"a": {key: first}, "b": {key: second}}, f": here {key} has no effect on a result")
            for key, first, second in (
                ("optimizer.momentum", 0.5, 0.9),
                ("execution.threads", 1, 2),
                ("execution.device", "cpu", "auto"),
                ("evaluation.batch_size", 8, 16),
                ("trainer.precision", "auto", "float32"),
            )
        ),
    ],
)
def test_two_arms_that_are_the_same_are_refused(write_ablation, factor, arms, note):
    path = write_ablation(factor=factor, arms=arms, hypotheses=None)
    with pytest.raises(UserError, match=f"arms 'a' and 'b' are the same run{note}$"):
        plan_of(path)


def test_an_arm_that_the_machine_cannot_run_carries_the_reason(write_ablation):
    arms = {"half": {"trainer.precision": "float16"}, "full": {"trainer.precision": "float32"}}
    plan = plan_of(write_ablation(factor="trainer.precision", arms=arms, hypotheses=None))
    assert {(run.arm, run.unavailable) for run in plan.runs} == {("half", "needs CUDA"), ("full", None)}


def test_only_keeps_an_arm_and_refuses_an_unknown_one(write_ablation):
    path = write_ablation()
    assert {run.arm for run in plan_of(path, only=["large"]).runs} == {"large"}
    assert plan_of(path, only=["large"]).plan == plan_of(path).plan
    for only in ("larg", "LARGE"):
        with pytest.raises(UserError, match=f"--only '{only}' is not an arm; did you mean large"):
            plan_of(path, only=[only])


def test_a_plan_knows_the_arms_that_are_not_asked_for_and_other_seeds(write_ablation):
    path = write_ablation()
    whole, part = plan_of(path), plan_of(path, only=["large"], seeds=[1])
    assert [run.name for run in part.runs] == ["large, seed 1"]
    assert part.runs_of([1, 2]) == list(whole.runs)
    assert [run.name for run in part.runs_of([7])] == ["large, seed 7", "small, seed 7"]
