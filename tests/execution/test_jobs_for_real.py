"""Calls of `runner.py` with two runs at a time: the same numbers, and nothing is left of a call that was stopped."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil  # type: ignore[import-untyped]
import pytest
import yaml

from segcore.checkpoint import read_checkpoint
from segcore.execution.claims import Claims
from segcore.execution.folder import RunFolder
from tests.test_runner import ROOT, SETTINGS, call, environment

RATES = {"large": 1e-3, "small": 1e-4}
TIMED = {"images_per_second", "epoch_seconds", "train_seconds", "peak_memory_gib"}
SECONDS = 120


@pytest.fixture
def make_project(tmp_path, empty_database):
    """A function that makes a folder with one ablation: two learning rates, one seed, two epochs."""

    def make(name):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(empty_database, folder / "mlflow.db")
        arms = {arm: {"optimizer.lr": rate} for arm, rate in RATES.items()}
        content = {"name": "rates", "title": "Rates", "question": "Which?", "factor": "optimizer.lr", "arms": arms}
        (folder / "rates.yaml").write_text(yaml.safe_dump(content | {"settings": SETTINGS, "seeds": [1]}))
        return folder

    return make


def runs_of(folder):
    """The runs of a project by fingerprint."""
    return {path.parent.name: RunFolder(path.parent) for path in folder.glob("runs/*/run.json")}


def numbers_of(run):
    """The metrics of a run's epochs and of its test, but for what a clock or the system tells."""
    rows = [line["metrics"] for line in run.lines("epochs")] + [run.read("results")["metrics"]]
    return [{name: value for name, value in row.items() if name not in TIMED} for row in rows]


def weights_of(run):
    """The bits of the best epoch's weights."""
    tensors, _ = read_checkpoint(run.checkpoint)
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def training_times(folder):
    """When each run began, and when its last epoch ended, in the order of their beginnings."""
    return sorted(
        (run.read("state")["started"], [*run.lines("epochs")][-1]["time"]) for run in runs_of(folder).values()
    )


def test_two_runs_at_a_time_compute_what_one_after_the_other_does(make_project):
    alone, beside = make_project("alone"), make_project("beside")
    for folder, jobs in ((alone, "1"), (beside, "2")):
        done = call(folder, "rates.yaml", "--jobs", jobs)
        assert done.returncode == 0, done.stdout + done.stderr
    one, two = runs_of(alone), runs_of(beside)
    assert len(one) == len(RATES)
    assert {name: numbers_of(run) for name, run in one.items()} == {name: numbers_of(run) for name, run in two.items()}
    assert {name: weights_of(run) for name, run in one.items()} == {name: weights_of(run) for name, run in two.items()}
    (_, first_end), (second_start, _) = training_times(alone)
    assert first_end < second_start
    (_, first_end), (second_start, _) = training_times(beside)
    assert first_end > second_start


@pytest.fixture
def start():
    """A function that starts a call, the leader of a process group; nothing of it outlives the test."""
    folders = []

    def start(folder, *arguments):
        folders.append(folder)
        command = [sys.executable, str(ROOT / "runner.py"), "rates.yaml", "--no-report", *arguments]
        with (folder / "said.txt").open("w") as said:
            return subprocess.Popen(
                command, cwd=folder, env=environment(folder), stdout=said, stderr=said, start_new_session=True
            )

    yield start
    for process in (process for folder in folders for process in processes_in(folder)):
        process.kill()


def processes_in(folder):
    """All processes that work in a folder: the runner, the one that forks its workers, and these."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has just ended, or is another user's
            if process.cwd() == str(folder):
                found.append(process)
    return found


def wait_until(process, holds):
    """Wait for what a call is to do, which has not ended before."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def assert_all_is_stopped(folder, process, num_runs):
    """The exit status, no process and no lock left, and a note in each run's folder."""
    assert process.wait(SECONDS) == 130
    assert processes_in(folder) == []
    runs = runs_of(folder).values()
    assert [run.state for run in runs] == ["interrupted"] * num_runs
    assert all(run.reason.startswith("stopped by a signal") for run in runs)
    for run in runs:
        claim = Claims().take(run)
        assert claim is not None
        claim.release()
    assert " python " in (folder / "said.txt").read_text()


def test_a_call_that_is_told_to_stop_ends_both_of_its_trainings(make_project, start):
    folder = make_project("stopped")
    process = start(folder, "trainer.epochs=5000", "--jobs", "2")
    wait_until(process, lambda: sum(any(run.lines("epochs")) for run in runs_of(folder).values()) == 2)
    workers = {run.read("state")["pid"] for run in runs_of(folder).values()}
    assert {process.pid, *workers} < {other.pid for other in processes_in(folder)}
    os.killpg(process.pid, signal.SIGTERM)
    assert_all_is_stopped(folder, process, 2)
    assert all("saved in epoch" in run.reason and any(run.states.iterdir()) for run in runs_of(folder).values())


def test_a_call_that_is_told_to_stop_ends_the_end_of_a_run(make_project, start):
    folder = make_project("stopped")
    process = start(folder, "--only", "large")
    wait_until(process, lambda: any((run.path / "model.part").exists() for run in runs_of(folder).values()))
    process.send_signal(signal.SIGTERM)
    assert_all_is_stopped(folder, process, 1)
    (run,) = runs_of(folder).values()
    assert (run.path / "results.json").exists()
    assert not run.model.exists()
