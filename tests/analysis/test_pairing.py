"""What keeps runs from being compared: unlike machines, attempts in vain, what a machine cannot do."""

import numpy as np
import pytest

from tests.analysis.test_verdicts import judge_one, runs_of


def on_machines(metric="train_seconds", **columns):
    """Three seeds of A and B; each column holds A's value and B's."""
    runs = runs_of(metric, A=[100, 110, 95], B=[950, 1000, 970])
    for name, (first, second) in columns.items():
        runs[name] = runs["arm"].map({"A": first, "B": second}).astype(object)
    return runs


@pytest.mark.parametrize("metric", ["train_seconds", "epoch_seconds", "images_per_second", "peak_memory_gib"])
def test_times_and_memory_of_unlike_machines_are_not_compared(metric):
    runs = on_machines(metric, device=("NVIDIA H200", "cpu"), host=("large", "small"), threads=("16", "16"))
    verdict = judge_one(runs, metric, 1.0, ratio=True)
    assert (verdict.verdict, verdict.estimate) == ("inconclusive", None)
    what_differs = "(device NVIDIA H200 and cpu; host large and small)"
    assert f"because the runs of seeds 42, 43, 44 were not computed alike {what_differs}" in verdict.sentence
    assert verdict.sentence.endswith("run both arms on one machine, with as many threads.")


def test_times_of_one_machine_are_compared_and_of_unknown_ones_too():
    assert judge_one(on_machines(device=("cpu", "cpu"), threads=(2, 2.0)), "train_seconds", 100).verdict == "supported"
    assert judge_one(on_machines(device=("cpu", "")), "train_seconds", 100).verdict == "supported"
    assert judge_one(on_machines(threads=(2, np.nan)), "train_seconds", 100).verdict == "supported"
    assert judge_one(on_machines(threads=(2, 4)), "train_seconds", 100).verdict == "inconclusive"


def test_one_pair_of_unlike_machines_is_enough_and_a_score_does_not_mind():
    runs = on_machines(device=("cpu", "cpu"))
    runs.loc[4, "device"] = "NVIDIA H200"
    assert (
        "the runs of seed 43 were not computed alike (device cpu and NVIDIA H200)"
        in judge_one(runs, "train_seconds", 100).sentence
    )
    score = runs_of(A=[0.85, 0.854, 0.853], B=[0.839, 0.843, 0.841]).assign(device=["cpu"] * 3 + ["NVIDIA H200"] * 3)
    assert judge_one(score).verdict == "supported"


def test_a_finished_run_that_was_tried_again_in_vain_is_noted():
    runs = runs_of(A=[0.85, 0.86, 0.87], B=[0.84, 0.845, 0.84])
    runs.loc[1, "reason"] = "a newer attempt failed (disk full); the finished one before it stands"
    assert judge_one(runs).notes[0] == (
        "A, seed 43: finished; a newer attempt failed (disk full); the finished one before it stands"
    )


def test_an_arm_that_the_machine_cannot_run_is_not_to_be_run_again():
    runs = runs_of(A=[0.85, 0.86, 0.85], B=[None] * 3)
    runs.loc[runs["arm"] == "B", ["state", "reason"]] = "missing", "float16 needs a CUDA device"
    assert judge_one(runs).sentence.endswith("because B has no finished run: float16 needs a CUDA device.")


@pytest.mark.parametrize(
    ("first", "second", "clause"),
    [
        ("finished", "running", "because B has no finished run; its runs are under way."),
        ("finished", "not run", "because B has no finished run; run the ablation again."),
        ("finished", "failed", "because B has no finished run; run the ablation again."),
        ("running", "running", "because A and B have no finished run; runs of A and B are under way."),
        ("running", "not run", "because A and B have no finished run; runs of A are under way."),
    ],
)
def test_an_arm_that_is_under_way_is_not_to_be_run_again(first, second, clause):
    runs = runs_of(A=[0.85], B=[None]).assign(state=[first, second], reason="")
    assert judge_one(runs, seeds=1).sentence.endswith(clause)


def test_an_arm_that_comes_after_those_that_run_is_not_to_be_run_again():
    runs = runs_of(A=[0.85, None], B=[None, None]).assign(state=["finished", "running", "not run", "not run"])
    assert judge_one(runs, seeds=2).sentence.endswith("because B has no finished run; the ablation is under way.")
    runs.loc[3, "state"] = "failed"
    assert judge_one(runs, seeds=2).sentence.endswith("because B has no finished run; run the ablation again.")


def test_runs_that_cannot_be_used_are_named():
    runs = runs_of(A=[0.85, 0.86, 0.87], B=[0.84, np.nan, 0.84])
    assert judge_one(runs).notes[0] == "B, seed 43: finished, but without a number for the test per-image Dice"


def test_runs_without_a_column_of_reasons_will_do():
    runs = runs_of(A=[0.85, 0.86, 0.87], B=[0.84, None, 0.84]).drop(columns="reason")
    assert judge_one(runs).notes[0] == "B, seed 43: failed"
