import errno
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from segcore.ablation import load_ablation
from segcore.checkpoint import save_checkpoint
from segcore.execution import folder as folders
from segcore.execution.attempts import can_continue, continue_attempt, find_trained, set_aside, start_attempt
from segcore.execution.claims import Claims
from segcore.execution.folder import RunFolder, folder_of
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


def test_an_earlier_attempt_is_kept_and_one_whose_process_is_gone_is_called_lost(runs):
    folder = start_attempt(runs[0], "float32")
    attempt = folder.read("run")["attempt"]
    folder.set_state("running")
    claim = Claims().take(folder)
    earlier = set_aside(folder)
    assert earlier == RunFolder(folders.RUNS / "replaced" / f"{folder.path.name}-{attempt}")
    assert (earlier.state, earlier.reason) == ("lost", "its process is gone: killed, or the machine went down")
    assert sorted(file.name for file in folder.path.iterdir()) == ["claim", "lock"]
    assert start_attempt(runs[0], "float32").read("run")["attempt"] != attempt
    claim.release()


@pytest.mark.parametrize("state", ["running", "interrupted", "lost", "failed"])
def test_an_attempt_that_was_cut_short_goes_on_under_its_name(runs, state):
    folder = start_attempt(runs[0], "float32")
    before = folder.read("run")
    folder.set_state(state, "because")
    assert can_continue(folder)
    config = runs[0].config.model_copy(update={"execution": runs[0].config.execution.model_copy(update={"threads": 3})})
    continued = continue_attempt(replace(runs[0], config=config), "float32")
    assert continued.read("run") == before | {"resumed": 1}
    assert continued.config().execution.threads == 3  # where and how are the new call's
    assert continued.state == ("lost" if state == "running" else state)


@pytest.mark.parametrize("state", ["finished", "diverged", "missing"])
def test_an_attempt_that_came_to_its_end_is_not_continued(runs, state):
    folder = start_attempt(runs[0], "float32")
    folder.set_state(state)
    assert not can_continue(folder)


def test_a_folder_without_its_first_files_is_not_continued(runs):
    folder = start_attempt(runs[0], "float32")
    folder.set_state("interrupted")
    (folder.path / "settings.yaml").unlink()
    assert not can_continue(folder)


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


@pytest.mark.parametrize("failures", [2, 9])
def test_a_file_that_storage_loses_sight_of_for_a_moment_is_read_again(runs, monkeypatch, failures):
    folder = start_attempt(runs[0], "float32")
    folder.set_state("running")
    read, left = Path.read_text, [OSError(errno.ESTALE, "Stale file handle")] * failures

    def read_text(path, *arguments, **options):
        if left and path.name == "state.json":
            raise left.pop()
        return read(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(folders, "PAUSES", (0.0, 0.0))
    if failures == 2:
        assert folder.state == "running"
    else:
        with pytest.raises(OSError, match="Stale"):
            _ = folder.state


def test_a_reason_is_kept_without_what_looks_like_a_credential(runs):
    folder = start_attempt(runs[0], "float32")
    folder.set_state("failed", "ConnectionError: https://me:hunter2@host")
    assert "hunter2" not in (folder.path / "state.json").read_text()


def test_a_torn_line_is_left_out(runs):
    folder = start_attempt(runs[0], "float32")
    (folder.path / "epochs.jsonl").write_text('{"epoch": 1}\n{"epo{"epoch": 2}\n{"epoch": 3}\n')
    assert [line["epoch"] for line in folder.lines("epochs")] == [1, 3]


def test_a_line_after_a_torn_one_stands_alone(runs):
    folder = start_attempt(runs[0], "float32")
    folder.append("epochs", {"epoch": 1})
    with (folder.path / "epochs.jsonl").open("a") as file:
        file.write('{"epoch": 2, "met')
    folder.append("epochs", {"epoch": 2})
    assert [line["epoch"] for line in folder.lines("epochs")] == [1, 2]


def test_nothing_is_set_aside_where_nothing_is(runs):
    assert set_aside(folder_of(runs[0])) is None


def save_weights(folder):
    save_checkpoint(folder.checkpoint, nn.Linear(1, 1), {"settings": {}})


def test_a_training_is_taken_over_only_from_a_finished_run_of_the_same_training(runs):
    chosen, fixed = runs
    folder = start_attempt(fixed, "float32")
    assert find_trained(folder) is None
    donor = start_attempt(chosen, "float32")
    donor.set_state("failed", "because")
    assert find_trained(folder) is None
    donor.set_state("finished")
    assert find_trained(folder) is None  # its weights are lost
    save_weights(donor)
    assert find_trained(folder) == donor
    donor.checkpoint.write_bytes(donor.checkpoint.read_bytes()[:-1])
    assert find_trained(folder) is None


def test_what_was_trained_before_the_call_is_not_taken_over_by_a_rerun(runs):
    chosen, fixed = runs
    donor = start_attempt(chosen, "float32")
    donor.set_state("finished")
    save_weights(donor)
    assert find_trained(start_attempt(fixed, "float32")) == donor
    begun = folder_of(chosen).read("run")["created"]
    assert find_trained(start_attempt(fixed, "float32", trained_since=begun + 1)) is None
