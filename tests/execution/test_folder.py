import os

import pytest

from segcore.ablation import load_ablation
from segcore.execution import folder as folders
from segcore.execution.folder import RunFolder, claim, find_trained, folder_of, set_aside, start_attempt
from segcore.plan import Facts, expand


@pytest.fixture
def runs(write_ablation, monkeypatch, tmp_path):
    """The runs of an ablation of the threshold: both arms share a training."""
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    arms = {"chosen": {"evaluation.threshold": "validation"}, "fixed": {"evaluation.threshold": 0.4}}
    path = write_ablation(factor="evaluation.threshold", arms=arms, seeds=[1], hypotheses=None)
    return expand(load_ablation(path), lambda config: Facts("data", "float32")).runs


def test_a_new_run_has_no_state(runs):
    assert folder_of(runs[0]).state == "new"
    assert folder_of(runs[0]).reason is None


def test_settings_come_back_with_the_resolved_precision(runs):
    folder = start_attempt(runs[0], "bfloat16")
    assert folder.config().trainer.precision == "bfloat16"
    assert folder.config().optimizer == runs[0].config.optimizer


def test_the_state_keeps_the_time_of_its_start(runs):
    folder = start_attempt(runs[0], "float32")
    folder.set_state("running")
    started = folder.read("state")["started"]
    assert folder.read("state")["ended"] is None
    folder.set_state("failed", "because")
    assert folder.read("state")["started"] == started
    assert folder.read("state")["ended"] >= started
    assert (folder.state, folder.reason) == ("failed", "because")


def test_a_line_that_is_being_written_is_not_read_yet(runs):
    folder = start_attempt(runs[0], "float32")
    folder.append("epochs", {"epoch": 1})
    with (folder.path / "epochs.jsonl").open("a") as file:
        file.write('{"epoch": 2')
    assert list(folder.lines("epochs")) == [{"epoch": 1}]


def test_a_claim_excludes_others_until_the_last_holder_is_gone(runs):
    folder = folder_of(runs[0])
    first = claim(folder)
    assert first is not None
    assert claim(folder) is None
    inherited = os.dup(first)
    os.close(first)
    assert claim(folder) is None
    os.close(inherited)
    again = claim(folder)
    assert again is not None
    os.close(again)


def test_an_earlier_attempt_is_kept_and_one_whose_process_is_gone_is_called_interrupted(runs):
    folder = start_attempt(runs[0], "float32")
    attempt = folder.read("run")["attempt"]
    folder.set_state("running")
    lock = claim(folder)
    earlier = set_aside(folder)
    assert earlier == RunFolder(folders.RUNS / "replaced" / f"{folder.path.name}-{attempt}")
    assert (earlier.state, earlier.reason) == ("interrupted", "its process is gone")
    assert [file.name for file in folder.path.iterdir()] == ["lock"]
    assert start_attempt(runs[0], "float32").read("run")["attempt"] != attempt
    os.close(lock)


def test_an_attempt_that_was_cut_short_while_it_began_is_set_aside_too(runs):
    folder = folder_of(runs[0])
    folder.artifacts.mkdir(parents=True)  # and no run.json yet
    earlier = set_aside(folder)
    assert earlier is not None
    assert earlier.artifacts.is_dir()
    assert start_attempt(runs[0], "float32").state == "new"


def test_setting_aside_that_was_cut_short_goes_on(runs):
    folder = start_attempt(runs[0], "float32")
    attempt = folder.read("run")["attempt"]
    target = folders.RUNS / "replaced" / f"{folder.path.name}-{attempt}"
    target.mkdir(parents=True)
    (folder.path / "settings.yaml").rename(target / "settings.yaml")
    earlier = set_aside(folder)
    assert earlier == RunFolder(target)
    assert {file.name for file in target.iterdir()} == {"settings.yaml", "artifacts", "run.json"}


def test_a_torn_line_is_left_out(runs):
    folder = start_attempt(runs[0], "float32")
    (folder.path / "epochs.jsonl").write_text('{"epoch": 1}\n{"epo{"epoch": 2}\n{"epoch": 3}\n')
    assert [line["epoch"] for line in folder.lines("epochs")] == [1, 3]


def test_nothing_is_set_aside_where_nothing_is(runs):
    assert set_aside(folder_of(runs[0])) is None


def test_a_training_is_taken_over_only_from_a_finished_run_of_the_same_training(runs):
    chosen, fixed = runs
    folder = start_attempt(fixed, "float32")
    assert find_trained(folder) is None
    donor = start_attempt(chosen, "float32")
    donor.set_state("failed", "because")
    assert find_trained(folder) is None
    donor.set_state("finished")
    assert find_trained(folder) == donor


def test_what_was_trained_before_the_call_is_not_taken_over_by_a_rerun(runs):
    chosen, fixed = runs
    start_attempt(chosen, "float32").set_state("finished")
    begun = folder_of(chosen).read("run")["created"]
    assert find_trained(start_attempt(fixed, "float32", trained_since=begun + 1)) is None
