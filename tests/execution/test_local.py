import errno
import os
import signal
import subprocess
import sys

import pytest

from segcore.ablation import load_ablation
from segcore.execution import folder as folders
from segcore.execution import jobs, launching, local, turns
from segcore.execution.attempts import start_attempt
from segcore.execution.devices import Place
from segcore.execution.folder import folder_of
from segcore.execution.jobs import Job
from segcore.execution.launching import launch
from segcore.execution.local import Refusal
from segcore.execution.nursery import UNSEEN
from segcore.execution.stage import Stage
from segcore.plan import Facts, expand
from tests.execution.stand_ins import Heard, StandInClaim, Steps, make_launcher


@pytest.fixture
def runs(write_ablation, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    return expand(load_ablation(write_ablation()), lambda config: Facts("data", "float32")).runs


def job_of(run, code):
    """A job whose process runs a line of Python instead of a worker."""
    folder = start_attempt(run, "float32")
    folder.set_state("running")
    return Job(run, folder, subprocess.Popen([sys.executable, "-c", code]))


def test_a_run_that_another_call_has_ended_is_told_of_and_not_started(runs):
    heard = Heard()
    make_launcher().execute(runs, heard)
    assert heard.started == []
    assert heard.settled == list(runs)


def test_a_run_that_another_process_has_is_waited_for(runs, monkeypatch):
    monkeypatch.setattr(local, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(turns, "LOOK_AGAIN_SECONDS", 0.05)
    answers = iter([Refusal.busy, Refusal.busy, Refusal.settled, Refusal.settled])
    heard = Heard()
    make_launcher(claim=lambda run: next(answers)).execute(runs[:2], heard)
    assert heard.waited_for
    assert set(heard.settled) == set(runs[:2])


@pytest.mark.parametrize(
    ("is_alive", "stage", "begun"),
    [(True, "training", "training"), (False, "training", "whole"), (True, "end", "end"), (False, "end", "end")],
)
def test_a_worker_is_forked_and_where_that_cannot_be_started_as_a_program(runs, monkeypatch, is_alive, stage, begun):
    class StandIn:
        def start(self, folder, stage, log, locks, environment):
            if not is_alive:
                raise ConnectionError("gone")
            return "forked", folder, stage, locks, {"CUDA_VISIBLE_DEVICES": environment["CUDA_VISIBLE_DEVICES"]}

    def spawn(folder, stage, log, locks, environment):
        return "spawned", folder.path, stage, locks, {"CUDA_VISIBLE_DEVICES": environment["CUDA_VISIBLE_DEVICES"]}

    monkeypatch.setattr(launching, "spawn", spawn)
    folder = start_attempt(runs[0], "float32")
    place = Place("1", 9, (("CUDA_VISIBLE_DEVICES", "1"),))
    process, stage = launch(runs[0], folder, Stage(stage), StandInClaim(), place, StandIn())
    how = "forked" if is_alive else "spawned"
    # The end of a run sees no GPU: it needs none, and no lock keeps it away from other runs.
    assert process == (how, folder.path, begun, [8, 9], {"CUDA_VISIBLE_DEVICES": "" if stage == "end" else "1"})
    assert stage == begun


@pytest.mark.parametrize("cores", [1, 2])
def test_the_end_of_a_run_overlaps_the_next_training_where_a_core_is_left(runs, monkeypatch, tmp_path, cores):
    steps = Steps(monkeypatch)
    monkeypatch.setattr(local.build, "count_cores", lambda: cores)
    monkeypatch.setattr(local.build, "resolve_threads", lambda config: 1)
    launcher = make_launcher(claim=lambda run: StandInClaim())
    begun_at = []

    def tick(running):
        begun_at.append(len(steps.begun))
        match len(begun_at):
            case 2:
                steps.end(0)  # the first training
            case 5:
                steps.end(1)  # its end
            case 8:
                raise KeyboardInterrupt

    heard = Heard(tick)
    with pytest.raises(KeyboardInterrupt):
        launcher.execute(runs[:2], heard)
    stages = [stage for _, _, stage in steps.begun]
    assert stages == ["training", "end", "training"]
    # The next training begins with the end of the first, or only after it.
    assert begun_at == ([1, 1, 2, 3, 3, 3, 3, 3] if cores == 2 else [1, 1, 2, 2, 2, 2, 3, 3])
    assert [job.folder.state for job in heard.ended] == ["finished", "interrupted"]


def test_a_training_that_fails_has_no_end_and_one_that_is_cut_short_before_it_is_interrupted(
    runs, monkeypatch, tmp_path
):
    steps = Steps(monkeypatch)
    launcher = make_launcher(claim=lambda run: StandInClaim())

    def tick(running):
        if len(steps.begun) == 1:
            steps.end(0, status=1)
        elif len(steps.begun) == 2:
            steps.end(1)
            raise KeyboardInterrupt

    heard = Heard(tick)
    with pytest.raises(KeyboardInterrupt):
        launcher.execute(runs[:2], heard)
    assert [stage for _, _, stage in steps.begun] == ["training", "training"]
    assert [job.folder.state for job in heard.ended] == ["failed", "interrupted"]


def test_a_training_whose_end_nobody_saw_is_gone_on_with_where_it_is_whole(runs, monkeypatch, tmp_path):
    steps = Steps(monkeypatch)
    launcher = make_launcher(claim=lambda run: StandInClaim())

    def tick(running):
        match len(steps.begun):
            case 1:
                running[0].folder.write("results", {"metrics": {"test/dice_per_image": 0.5}})
                steps.end(0, UNSEEN)
            case 2:
                steps.end(1)
            case 3:
                steps.end(2, UNSEEN)

    heard = Heard(tick)
    launcher.execute(runs[:2], heard)
    assert [stage for _, _, stage in steps.begun] == ["training", "end", "training"]
    assert [job.folder.state for job in heard.ended] == ["finished", "lost"]
    assert "killed" in heard.ended[1].folder.reason


@pytest.fixture
def heeded():
    """SIGINT as a program in the foreground has it; one in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_a_signal_between_a_workers_start_and_its_note_stops_the_worker(runs, monkeypatch, tmp_path):
    steps = Steps(monkeypatch)
    launch = steps.launch

    def launch_and_be_stopped(*arguments):
        begun = launch(*arguments)
        signal.raise_signal(signal.SIGINT)
        return begun

    monkeypatch.setattr(local, "launch", launch_and_be_stopped)
    launcher = make_launcher(claim=lambda run: StandInClaim())
    heard = Heard()
    with pytest.raises(KeyboardInterrupt):
        launcher.execute(runs[:2], heard)
    assert steps.ended == {0: -15}
    assert [job.folder.state for job in heard.ended] == ["interrupted"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_whose_end_cannot_be_started_fails_alone(runs, monkeypatch):
    steps = Steps(monkeypatch)
    launch = steps.launch

    def launch_unless_it_is_an_end(run, folder, stage, *arguments):
        if stage == Stage.end:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return launch(run, folder, stage, *arguments)

    monkeypatch.setattr(local, "launch", launch_unless_it_is_an_end)
    heard = Heard(lambda running: steps.end(len(steps.begun) - 1))
    make_launcher(claim=lambda run: StandInClaim()).execute(runs[:2], heard)
    assert [job.folder.state for job in heard.ended] == ["failed", "failed"]
    assert "its end could not be started" in heard.ended[0].folder.reason


def test_a_run_that_another_call_takes_over_is_waited_for_and_its_process_killed(runs, monkeypatch):
    steps = Steps(monkeypatch)
    monkeypatch.setattr(turns, "LOOK_AGAIN_SECONDS", 0.0)
    claim = StandInClaim()
    answers = [claim, Refusal.busy, Refusal.settled]
    launcher = make_launcher(claim=lambda run: answers.pop(0))

    def tick(running):
        if running:
            claim.is_lost = True

    heard, waited_for = Heard(tick), []
    heard.wait = lambda waiting: waited_for.extend(waiting)
    launcher.execute(runs[:1], heard)
    assert steps.ended == {0: -15}  # what the stand-in makes of a kill
    assert [job.outcome for job in heard.tried_again] == [("failed", jobs.TAKEN_OVER)]
    assert folder_of(runs[0]).state == "running"  # the other call's note stays
    assert waited_for == heard.settled == [runs[0]]
    assert heard.ended == []


def test_a_failure_of_a_runs_own_is_kept_when_the_call_is_stopped(runs, monkeypatch, tmp_path):
    Steps(monkeypatch)
    launcher = make_launcher(jobs=2, claim=lambda run: StandInClaim())

    def tick(running):
        running[0].folder.set_state("failed", "ValueError: its own")
        raise KeyboardInterrupt

    heard = Heard(tick)
    with pytest.raises(KeyboardInterrupt):
        launcher.execute(runs[:2], heard)
    assert [(job.folder.state, job.folder.reason) for job in heard.ended] == [
        ("failed", "ValueError: its own"),
        ("interrupted", "stopped by a signal"),
    ]


def test_a_run_that_fails_is_tried_again_behind_the_others_until_it_gets_no_further(runs, monkeypatch):
    steps = Steps(monkeypatch)
    fallen = {runs[0].fingerprint: 0}

    def tick(running):
        for job in running:
            position = job.process.position
            if job.run == runs[1]:
                steps.end(position)
            elif position not in steps.ended:
                fallen[runs[0].fingerprint] += 1
                if fallen[runs[0].fingerprint] == 2:  # of four tries, only the second gets further
                    job.folder.write("progress", {"epoch": 1, "step": 2})
                steps.end(position, status=3)

    monkeypatch.setattr(local.build, "count_cores", lambda: 1)
    heard = Heard(tick)
    make_launcher(claim=lambda run: StandInClaim(), retries=1).execute(runs[:2], heard)
    assert [arm for _, arm, stage in steps.begun if stage == "training"] == ["large", "small", "large", "large"]
    assert [job.run for job in heard.tried_again] == [runs[0]] * 2
    assert {job.run.arm: job.folder.state for job in heard.ended} == {"small": "finished", "large": "failed"}


def test_a_run_whose_folder_cannot_be_used_ends_alone(runs):
    def claim(run):
        if run == runs[0]:
            raise PermissionError(13, "Permission denied", "runs/x/lock")
        return Refusal.settled

    heard = Heard()
    make_launcher(claim=claim).execute(runs[:2], heard)
    assert heard.failed == [(runs[0], "runs/x/lock: Permission denied")]
    assert heard.settled == [runs[1]]
