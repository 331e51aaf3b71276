import os
import subprocess
import sys

import pytest

from segcore.ablation import load_ablation
from segcore.execution import folder as folders
from segcore.execution import local
from segcore.execution.folder import start_attempt
from segcore.execution.local import Job, LocalLauncher, next_ready, stop
from segcore.plan import Facts, expand


@pytest.fixture
def runs(write_ablation, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    return expand(load_ablation(write_ablation()), lambda config: Facts("data", "float32")).runs


def job_of(run, code):
    """A job whose process runs a line of Python instead of a worker."""
    folder = start_attempt(run, "float32")
    folder.set_state("running")
    return Job(run, folder, subprocess.Popen([sys.executable, "-c", code]))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed (SIGKILL)"),
        ("import os; os.kill(os.getpid(), 6)", "ended by signal 6"),
        ("raise SystemExit(3)", "ended with status 3"),
    ],
)
def test_a_death_that_the_worker_could_not_note_is_noted(runs, code, reason):
    job = job_of(runs[0], code)
    job.process.wait()
    assert job.check()
    assert job.folder.state == "failed"
    assert reason in job.folder.reason
    assert not job.check()  # it ended once


def test_what_the_worker_noted_stays(runs):
    job = job_of(runs[0], "raise SystemExit(1)")
    job.folder.set_state("diverged", "loss is nan")
    job.process.wait()
    assert job.check()
    assert (job.folder.state, job.folder.reason) == ("diverged", "loss is nan")


def test_stopped_workers_are_interrupted_not_failed(runs):
    jobs = [job_of(run, "import time; time.sleep(60)") for run in runs[:2]]
    stop(jobs)
    assert [job.folder.state for job in jobs] == ["interrupted", "interrupted"]
    assert all(job.process.poll() is not None for job in jobs)


def test_a_run_waits_for_the_training_that_it_can_take_over(write_ablation, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    arms = {"chosen": {"evaluation.threshold": "validation"}, "fixed": {"evaluation.threshold": 0.4}}
    path = write_ablation(factor="evaluation.threshold", arms=arms, seeds=[1, 2], hypotheses=None)
    chosen, fixed, chosen_2, fixed_2 = expand(load_ablation(path), lambda config: Facts("data", "float32")).runs
    running = [job_of(chosen, "pass")]
    assert next_ready([fixed, chosen_2, fixed_2], running) == chosen_2
    assert next_ready([fixed], running) is None
    assert next_ready([fixed], []) == fixed
    running[0].process.wait()


def test_a_run_that_another_process_has_is_passed_over(runs):
    started = []
    launcher = LocalLauncher(jobs=1, claim=lambda run: None)
    launcher.execute(runs, started.append, lambda jobs: None, lambda job: None)
    assert started == []


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_worker_is_forked_and_where_that_cannot_be_started_as_a_program(runs, monkeypatch, tmp_path, is_alive):
    class StandIn:
        def start(self, folder, log, lock, environment):
            if not is_alive:
                raise ConnectionError("gone")
            return "forked", folder

    monkeypatch.setattr(local, "spawn", lambda run, folder, log, lock: ("spawned", folder.path))
    folder = start_attempt(runs[0], "float32")
    job = local.launch(runs[0], os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR), StandIn())
    assert job.process == ("forked" if is_alive else "spawned", folder.path)
