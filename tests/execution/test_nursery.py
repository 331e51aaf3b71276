"""Workers that are forked: what they inherit, how their ends are heard of, and what happens when the nursery dies."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from segcore.execution import forking
from segcore.execution.forking import prepare_ends, without_gpus
from segcore.execution.nursery import UNSEEN, Nursery, is_alive, open_nursery
from segcore.execution.stage import Stage


def stand_in(folder, stage):
    """In place of the worker: says where it is, and does what the folder's name asks for."""
    print(stage, folder.path.name, os.environ.get("MARK"), os.getsid(0) == os.getpid())
    if folder.path.name == "sleeps":
        time.sleep(60)
    if folder.path.name == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if folder.path.name == "fails":
        raise OSError("no space left")
    return 7


@pytest.fixture
def rehearsals(tmp_path, monkeypatch):
    """A file that grows with each rehearsal."""
    path = tmp_path / "rehearsals"
    monkeypatch.setattr(forking, "prepare_ends", lambda: path.open("a").write("once"))
    return path


@pytest.fixture
def nursery(monkeypatch, rehearsals):
    """A nursery whose workers are the stand-in."""
    monkeypatch.setattr(forking.worker, "main", stand_in)
    monkeypatch.setattr(forking, "PAUSE_SECONDS", 0.1)
    made = Nursery()
    yield made
    made.close()


def start(nursery, tmp_path, name):
    lock = os.open(tmp_path / f"{name}.lock", os.O_CREAT | os.O_RDWR)
    with (tmp_path / f"{name}.log").open("ab") as log:
        worker = nursery.start(tmp_path / name, Stage.training, log.fileno(), [lock], {"MARK": "set"})
    os.close(lock)
    return worker


def test_a_worker_has_its_log_its_variables_and_a_session_of_its_own(nursery, tmp_path):
    worker = start(nursery, tmp_path, "ends")
    assert worker.wait(timeout=30) == 7
    assert (tmp_path / "ends.log").read_text() == "training ends set True\n"


def sleepers(tmp_path):
    """Processes whose output goes into the folder."""
    logs = []
    for output in Path("/proc").glob("[0-9]*/fd/1"):
        with contextlib.suppress(OSError):
            logs.append(str(output.readlink()))
    return [log for log in logs if log.startswith(str(tmp_path))]


def test_the_ends_of_runs_are_rehearsed_once_after_the_first_start(nursery, tmp_path, rehearsals):
    time.sleep(0.3)
    assert not rehearsals.exists()
    for name in ("ends", "sleeps"):
        worker = start(nursery, tmp_path, name)
        time.sleep(0.5)
        assert rehearsals.read_text() == "once"
    worker.kill()


def test_ends_are_told_apart(nursery, tmp_path):
    ends, dies, sleeps = (start(nursery, tmp_path, name) for name in ("ends", "dies", "sleeps"))
    assert (ends.wait(timeout=30), dies.wait(timeout=30)) == (7, -signal.SIGKILL)
    assert sleeps.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        sleeps.wait(timeout=0.2)
    sleeps.terminate()
    assert sleeps.wait(timeout=30) == -signal.SIGTERM
    sleeps.kill()  # it has ended: nothing happens


def test_a_worker_outlives_the_nursery_and_its_end_is_noticed(nursery, tmp_path):
    worker = start(nursery, tmp_path, "sleeps")
    os.kill(nursery.pid, signal.SIGKILL)
    nursery.wait()
    time.sleep(0.2)
    assert worker.poll() is None and is_alive(worker.pid)
    with pytest.raises(OSError):
        start(nursery, tmp_path, "ends")
    worker.kill()
    assert worker.wait(timeout=30) == UNSEEN


def test_an_interrupted_start_leaves_no_worker_behind(nursery, tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    start(nursery, tmp_path, "ends").wait(timeout=30)
    monkeypatch.setattr(nursery, "receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        start(nursery, tmp_path, "sleeps")
    assert not is_alive(nursery.pid)
    assert not sleepers(tmp_path)


def test_a_worker_that_is_stopped_as_soon_as_it_is_forked_stops(tmp_path, monkeypatch, rehearsals):
    def stop(number, frame):
        raise KeyboardInterrupt

    monkeypatch.setattr(forking.worker, "main", stand_in)
    before = signal.signal(signal.SIGTERM, stop)  # as the runner's, which nursery and workers inherit
    try:
        nursery = Nursery()
        for _ in range(20):
            worker = start(nursery, tmp_path, "sleeps")
            worker.terminate()
            assert worker.wait(timeout=30) == 1
        nursery.close()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_resting_ends_with_a_worker_and_goes_on_without_a_nursery(nursery, tmp_path):
    start(nursery, tmp_path, "sleeps").kill()
    begun = time.monotonic()
    nursery.rest(20)
    assert time.monotonic() - begun < 10
    os.kill(nursery.pid, signal.SIGKILL)
    nursery.wait()
    nursery.collect()
    begun = time.monotonic()
    nursery.rest(0.1)
    assert time.monotonic() - begun >= 0.1


def test_preparing_looks_for_no_gpu(monkeypatch):
    def look():
        raise AssertionError("asked the driver, after which no fork could use a GPU")

    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", look)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    before = dict(os.environ)
    with without_gpus():
        prepare_ends()
    assert dict(os.environ) == before


def test_what_fails_in_preparing_does_not_end_the_nursery(tmp_path, monkeypatch):
    def fail():
        (tmp_path / "tried").touch()
        raise OSError("no space left")

    monkeypatch.setattr(forking, "prepare_ends", fail)
    monkeypatch.setattr(forking.worker, "main", stand_in)
    monkeypatch.setattr(forking, "PAUSE_SECONDS", 0.1)
    with open_nursery() as nursery:
        assert start(nursery, tmp_path, "ends").wait(timeout=30) == 7
        while not (tmp_path / "tried").exists():
            time.sleep(0.05)
        assert start(nursery, tmp_path, "ends").wait(timeout=30) == 7


def test_what_a_worker_could_not_note_is_in_its_log(nursery, tmp_path):
    worker = start(nursery, tmp_path, "fails")
    assert worker.wait(timeout=30) == 1
    assert "OSError: no space left" in (tmp_path / "fails.log").read_text()
