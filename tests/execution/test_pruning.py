import io
from dataclasses import replace

import pytest
from rich.console import Console

from segcore.execution import folder as folders
from segcore.execution import pruning
from segcore.execution.attempts import set_aside, start_attempt
from segcore.execution.claims import Claims
from segcore.execution.pruning import prune
from segcore.training_state import save_state


def said(table):
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    return console.file.getvalue()


@pytest.fixture
def runs(make_plan):
    return make_plan().runs


def test_nothing_needs_the_checkpoints_of_a_run_that_has_ended(runs):
    for run, state in zip(runs, ("finished", "diverged", "interrupted"), strict=False):
        folder = start_attempt(run, "float32")
        save_state(folder.states, {"epoch": 1})
        folder.set_state(state)
    shown = said(prune(is_only_shown=True))
    assert "checkpoints of runs that have ended" in shown and "Would be removed" in shown
    assert all(folders.folder_of(run).states.exists() for run in runs[:3])
    prune(is_only_shown=False)
    assert [folders.folder_of(run).states.exists() for run in runs[:3]] == [False, False, True]
    assert "Nothing to remove" in said(prune(is_only_shown=False))


def test_parts_of_files_go(runs):
    folder = start_attempt(runs[0], "float32")
    save_state(folder.states, {"epoch": 1})
    folder.set_state("interrupted")
    parts = [folder.states / "000002.safetensors.7.part", folder.path / ".state.json.7.part"]
    parts.append(folder.path / "best.safetensors.7.part")
    for part in parts:
        part.write_bytes(bytes(2**20))
    text = said(prune(is_only_shown=False))
    assert "3.0 MiB" in text
    assert not any(part.exists() for part in parts)
    assert len(list(folder.states.iterdir())) == 1


def test_a_run_that_somebody_is_at_work_on_is_left_alone(runs):
    folder = start_attempt(runs[0], "float32")
    save_state(folder.states, {"epoch": 1})
    folder.set_state("finished")
    claim = Claims().take(folder)
    assert "1 run was left alone: somebody is at work on it" in said(prune(is_only_shown=False))
    assert folder.states.exists()
    claim.release()


@pytest.mark.parametrize("is_held", [True, False])
def test_an_earlier_attempt_goes_where_a_finished_one_replaced_it_and_mlflow_holds_it(runs, monkeypatch, is_held):
    start_attempt(runs[0], "float32").set_state("failed", "because")
    earlier = set_aside(folders.folder_of(runs[0]))
    start_attempt(runs[0], "float32").set_state("running")
    monkeypatch.setattr(pruning.Holdings, "has", lambda self, attempt: is_held)
    prune(is_only_shown=False)
    assert earlier.path.exists()
    folders.folder_of(runs[0]).set_state("finished")
    prune(is_only_shown=False)
    assert earlier.path.exists() != is_held


def test_of_a_reproduction_that_was_made_again_the_last_stays(runs):
    run = replace(runs[0], fingerprint=f"{folders.REPRODUCTIONS}/{runs[0].fingerprint}-1a2b")
    folder = folders.folder_of(run)
    start_attempt(run, "float32", folder=folder).set_state("finished")
    earlier = set_aside(folder)
    start_attempt(run, "float32", folder=folder).set_state("finished")
    save_state(folder.states, {"epoch": 1})
    prune(is_only_shown=False)
    assert not earlier.path.exists() and not folder.states.exists()
    assert folder.state == "finished"


def test_an_attempt_that_says_not_what_it_belongs_to_stays(runs, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    folder = start_attempt(runs[0], "float32")
    folder.set_state("failed")
    assert not pruning.Holdings().has(folder)


def test_an_attempt_that_no_worker_began_goes_whatever_mlflow_says(runs, monkeypatch):
    start_attempt(runs[0], "float32")
    earlier = set_aside(folders.folder_of(runs[0]))
    start_attempt(runs[0], "float32").set_state("finished")
    monkeypatch.setattr(pruning.Holdings, "has", lambda self, attempt: False)
    (earlier.path / "best.safetensors").touch()
    prune(is_only_shown=False)
    assert earlier.path.exists()
    (earlier.path / "best.safetensors").unlink()
    prune(is_only_shown=False)
    assert not earlier.path.exists()


def test_a_link_is_removed_and_what_it_leads_to_stays(runs, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_bytes(bytes(2**20))
    folder = start_attempt(runs[0], "float32")
    folder.set_state("interrupted")
    link = folder.path / "x.part"
    link.symlink_to(elsewhere)
    assert "Removed: 0.0 MiB" in said(prune(is_only_shown=False))
    assert not link.is_symlink()
    assert (elsewhere / "file").exists()


def test_a_folder_that_cannot_be_used_is_told_and_the_others_are_cleared(runs):
    for run in runs[:2]:
        folder = start_attempt(run, "float32")
        save_state(folder.states, {"epoch": 1})
        folder.set_state("finished")
    first = min((folders.folder_of(run) for run in runs[:2]), key=lambda folder: folder.path)
    (first.path / "lock").unlink(missing_ok=True)
    (first.path / "lock").mkdir()
    shown = said(prune(is_only_shown=False))
    assert "left alone: " in shown
    assert sorted(folders.folder_of(run).states.exists() for run in runs[:2]) == [False, True]
