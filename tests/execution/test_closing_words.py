"""What a call says last: of its runs, of networks that learnt nothing, and how to go on."""

from dataclasses import replace

import pandas as pd
import pytest

from analysis.metrics import PRIMARY
from analysis.untrained import describe_untrained
from call import describe_call, finished_runs
from segcore.execution.attempts import start_attempt
from segcore.execution.folder import folder_of


@pytest.fixture
def one_left(make_session, finish):
    """A session after its call: one run failed, the other finished."""
    session = make_session(seeds=[1])
    failed, finished = session.to_do
    start_attempt(failed, "float32").set_state("failed", "because")
    finish(finished)
    return session


def test_what_is_not_finished_goes_on_with_the_same_command(one_left, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    said = describe_call(one_left, one_left.plans)
    assert said.startswith("This call: 1 failed, 1 finished. The same command goes on with what is not finished. `mlf")


def test_after_rerun_it_is_the_command_without_it(one_left):
    one_left.request = replace(one_left.request, rerun=True)
    assert "The same command without --rerun goes on" in describe_call(one_left, one_left.plans)


def test_runs_of_another_call_are_told_apart(one_left, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example")
    one_left.settled.add(one_left.to_do[1].fingerprint)
    said = describe_call(one_left, one_left.plans)
    assert said.startswith("This call: 1 failed, 1 finished (1 of them by another call).")
    assert "mlflow ui" not in said


def test_with_nothing_to_do_it_tells_of_before(one_left):
    for run in one_left.to_do:
        folder_of(run).set_state("finished")
    one_left.to_do = []
    assert describe_call(one_left, one_left.plans).startswith("This call: nothing to train; before it 2 finished.")


def test_a_network_that_learnt_nothing_is_told_after_the_table(make_plan, finish):
    plan = make_plan(seeds=[1])
    # Half of each image is pet: every pixel called pet reaches a Dice of 2/3.
    images = pd.DataFrame({"name": ["a", "b"], "tp": [50, 20], "fp": [10, 20], "fn": [0, 30], "tn": [40, 30]})
    for run, dice in zip(plan.runs, (2 / 3 + 0.005, 0.9), strict=True):
        artifacts = finish(run, dice=dice).artifacts
        artifacts.mkdir(exist_ok=True)
        images.to_parquet(artifacts / "test_per_image.parquet")
    finished, trivial = finished_runs(plan)
    assert trivial == pytest.approx(2 / 3)
    [note] = describe_untrained(finished, trivial, PRIMARY)
    assert note.startswith("large (seed 1) has learnt next to nothing: calling every pixel pet reaches a test Dice")
    for run in plan.runs:
        (folder_of(run).artifacts / "test_per_image.parquet").write_bytes(b"torn")
    assert finished_runs(plan)[1] is None
    assert list(describe_untrained(finished, None, PRIMARY)) == []
