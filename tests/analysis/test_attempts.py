import pytest

from analysis import attempts
from analysis.attempts import TrackedRun, find_differences
from segcore import config, plan


def run(started=1, *, arm="fast", state="finished", status="FINISHED", plan="a", **params):
    """A tracked run whose id tells when it was started; params with __ for a dot."""
    tags = {"arm": arm, "seed": "1", "plan": plan, "state": state}
    settings = {key.replace("__", "."): value for key, value in params.items()}
    return TrackedRun(f"run{started}", started, status, "", tags, settings)


@pytest.mark.parametrize(
    ("state", "status", "shown"),
    [
        ("finished", "FINISHED", "finished"),
        ("diverged", "FAILED", "diverged"),
        ("missing", "KILLED", "missing"),
        ("", "FAILED", "failed"),
        ("", "KILLED", "interrupted"),
        ("unheard of", "SCHEDULED", "interrupted"),
    ],
)
def test_the_state_is_the_tag_or_else_what_mlflow_says(state, status, shown):
    assert run(state=state, status=status).state == shown


def test_the_newest_plan_is_that_of_the_run_that_was_started_last():
    runs = [run(started=1, plan="a"), run(started=2, plan="b"), run(started=3, plan="a"), run(started=4, plan="c")]
    assert {name: len(of_plan) for name, of_plan in attempts.newest_first(runs).items()} == {"c": 1, "a": 2, "b": 1}
    assert list(attempts.newest_first(runs)) == ["c", "a", "b"]


@pytest.mark.parametrize(
    "tags",
    [
        {"arm": "fast", "seed": "1"},
        {"arm": "fast", "seed": "one", "plan": "a"},
        {"arm": "fast", "seed": "1", "plan": "a", "summary": "true"},
    ],
)
def test_other_runs_of_mlflow_are_none_of_ours(tags):
    assert not attempts.is_run(tags)


def test_what_changes_no_result_is_what_the_suite_says():
    assert set(attempts.WITHOUT_EFFECT) == set(plan.WITHOUT_EFFECT)
    assert attempts.USED_WITH == config.USED_WITH


@pytest.mark.parametrize(
    ("setting", "param"),
    [
        ({"optimizer.lr": 1e-3}, {"optimizer__lr": "0.001"}),
        ({"optimizer.lr": 1}, {"optimizer__lr": "1.0"}),
        ({"optimizer.lr": "1e-3"}, {"optimizer__lr": "0.001"}),
        ({"optimizer.name": "adamw"}, {"optimizer__name": "adamw"}),
        ({"optimizer.nesterov": True}, {"optimizer__nesterov": "true"}),
        ({"optimizer.betas": [0.9, 0.99]}, {"optimizer__betas": "[0.9, 0.99]"}),
        ({"optimizer.clip": None}, {"optimizer__clip": "null"}),
    ],
)
def test_settings_are_compared_as_values(setting, param):
    assert find_differences(setting, ["optimizer"], [run(**param)]) == {}
    [key] = setting
    other = find_differences({key: "else"}, ["optimizer"], [run(**param)])
    assert other["run1"].endswith("the arm now has else")


def test_of_a_group_only_what_differs_is_named():
    arm = {"scheduler.name": "cosine", "scheduler.eta_min": 1e-5}
    same = run(1, scheduler__name="cosine", scheduler__eta_min="1e-05", scheduler__gamma="0.95")
    lower = run(2, scheduler__name="cosine", scheduler__eta_min="1e-06", scheduler__gamma="0.95")
    other = run(3, scheduler__name="exponential", scheduler__eta_min="1e-06", scheduler__gamma="0.95")
    assert find_differences(arm, ["scheduler"], [same, lower, other]) == {
        "run2": "made with scheduler.eta_min = 1e-6, the arm now has 1e-5",
        "run3": "made with scheduler.name = exponential, the arm now has cosine",
    }


def test_what_the_arm_does_not_set_is_as_in_the_newest_run_that_fits():
    runs = [
        run(1, optimizer__lr="0.1", optimizer__weight_decay="0.5"),
        run(2, optimizer__lr="0.1", optimizer__weight_decay="0.0"),
        run(3, optimizer__lr="0.2", optimizer__weight_decay="0.5"),
    ]
    assert find_differences({"optimizer.lr": 0.1}, ["optimizer"], runs) == {
        "run1": "made with optimizer.weight_decay = 0.5, its newest run has 0",
        "run3": "made with optimizer.lr = 0.2, the arm now has 0.1",
    }


def test_what_is_switched_off_outside_of_the_factor_or_not_recorded_keeps_no_run_from_standing():
    arm = {"optimizer.momentum": 0.9, "data.root": "/here", "trainer.precision": "auto"}
    runs = [
        run(1, optimizer__name="adamw", optimizer__momentum="0.5", data__root="/there", trainer__precision="float32"),
        run(2, optimizer__name="adamw", optimizer__momentum="0.6", loss__name="bce"),
        run(3),
    ]
    assert find_differences(arm, ["optimizer", "data", "trainer.precision"], runs) == {}


def test_an_automatic_choice_has_to_be_the_same_in_all_runs():
    runs = [run(1, trainer__precision="bfloat16"), run(2, trainer__precision="float32")]
    assert find_differences({"trainer.precision": "auto"}, ["trainer.precision"], runs) == {
        "run1": "made with trainer.precision = bfloat16, its newest run has float32"
    }
