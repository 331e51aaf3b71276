import time

from segcore.execution.attempts import set_aside, start_attempt
from segcore.execution.standing import seeds_after, standing_digest, standing_rows, standing_runs


def rows_of(plan):
    return [(row["arm"], row["seed"], row["state"], row["reason"]) for row in standing_rows(plan)]


def test_every_arm_and_declared_seed_is_a_row(make_plan, finish):
    plan = make_plan(only=["large"])
    finish(plan.runs_of([1])[1], dice=0.7)  # small, which is not asked for
    start_attempt(plan.runs[1], "float32").set_state("diverged", "loss is nan")
    assert rows_of(plan) == [
        ("large", 1, "not run", ""),
        ("small", 1, "finished", ""),
        ("large", 2, "diverged", "loss is nan"),
        ("small", 2, "not run", ""),
    ]
    row = standing_rows(plan)[1]
    assert (row["test/dice_per_image"], row["train/loss"]) == (0.7, 0.5)
    assert "test/dice_per_image" not in standing_rows(plan)[0]


def test_seeds_of_other_calls_count_where_they_finished(make_plan, finish):
    plan = make_plan(seeds=[1])
    large, small = plan.runs_of([7])
    finish(large).note_experiment("small")
    start_attempt(small, "float32").set_state("failed", "because")
    for run, experiment in zip(plan.runs_of([9]), ("small-demo", "another"), strict=True):
        finish(run).note_experiment(experiment)
    finish(make_plan(epochs=9).runs_of([8])[0])  # of another plan
    assert {(run.arm, run.seed) for run in standing_runs(plan)} == {
        ("large", 1), ("small", 1), ("large", 2), ("small", 2), ("large", 7),
    }  # fmt: skip
    assert seeds_after(plan) == {"large": {1, 7}, "small": {1}}


def test_only_what_will_be_run_or_has_finished_counts(make_plan, finish):
    """Seed 3 is not declared; large is asked for alone, and half needs CUDA."""
    finish(make_plan().runs_of([2])[1])  # small
    assert seeds_after(make_plan(only=["large"])) == {"large": {1, 2}, "small": {2}}
    arms = {"half": {"trainer.precision": "float16"}, "full": {"trainer.precision": "float32"}}
    assert seeds_after(make_plan(factor="trainer.precision", arms=arms, hypotheses=None)) == {
        "half": set(), "full": {1, 2},
    }  # fmt: skip


def test_an_attempt_that_did_not_finish_leaves_the_one_before_it_standing(make_plan, finish):
    plan = make_plan()
    for dice in (0.6, 0.7):
        set_aside(finish(plan.runs[0], dice=dice, device="NVIDIA H200", threads=4, host="large"))
        time.sleep(0.01)
    assert rows_of(plan)[0] == ("large", 1, "finished", "")  # nothing was tried since
    start_attempt(plan.runs[0], "float32").set_state("failed", "disk full")
    row = standing_rows(plan)[0]
    assert (row["state"], row["test/dice_per_image"]) == ("finished", 0.7)
    assert row["reason"] == "a newer attempt failed (disk full); the finished one before it stands"
    assert (row["device"], row["threads"], row["host"]) == ("NVIDIA H200", "4", "large")
    assert seeds_after(make_plan(seeds=[9], only=["small"]))["large"] == {1}
    finish(plan.runs[0], dice=0.8)
    assert (standing_rows(plan)[0]["test/dice_per_image"], standing_rows(plan)[0]["reason"]) == (0.8, "")


def test_a_seed_of_which_only_an_earlier_attempt_is_left_is_found(make_plan, finish):
    plan = make_plan()
    folder = finish(plan.runs_of([7])[0])
    folder.note_experiment("small")
    set_aside(folder)
    assert ("large", 7) in {(run.arm, run.seed) for run in standing_runs(plan)}


def test_an_attempt_that_is_being_set_aside_does_not_stand_yet(make_plan, finish):
    plan = make_plan()
    aside = set_aside(finish(plan.runs[0]))
    (aside.path / "run.json").unlink()  # the last file to be moved
    assert rows_of(plan)[0] == ("large", 1, "not run", "")


def test_the_digest_changes_with_what_there_is_to_report(make_plan, finish):
    digests = [standing_digest(make_plan())]
    finish(make_plan().runs[0])
    digests.append(standing_digest(make_plan()))
    assert standing_digest(make_plan()) == digests[-1]
    finish(make_plan().runs[0])  # a new attempt
    digests.append(standing_digest(make_plan()))
    digests.append(standing_digest(make_plan(hypotheses=None)))
    digests.append(standing_digest(make_plan(epochs=9)))
    assert len(set(digests)) == 5
