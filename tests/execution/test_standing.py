from segcore.execution.folder import start_attempt
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
    finish(large)
    start_attempt(small, "float32").set_state("failed", "because")
    finish(make_plan(epochs=9).runs_of([8])[0])  # of another plan
    assert {(run.arm, run.seed) for run in standing_runs(plan)} == {
        ("large", 1), ("small", 1), ("large", 2), ("small", 2), ("large", 7),
    }  # fmt: skip
    assert seeds_after(plan) == {1, 7}


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
