"""Workers that are forked: what they inherit, how their ends are heard of, and what happens when the nursery dies."""

import os
import signal
import subprocess
import sys
import time

import pytest

from segcore.execution import nursery as nurseries
from segcore.execution.nursery import Nursery, is_alive

# In place of the worker: says where it is, and does what the folder's name asks for.
STAND_IN = """
import os, sys, time
def main(folder):
    print("in", folder.path.name, os.environ.get("MARK"), os.getsid(0) == os.getpid(), flush=True)
    if folder.path.name == "sleeps":
        time.sleep(60)
    if folder.path.name == "dies":
        os.kill(os.getpid(), 9)
    return 7
"""


@pytest.fixture
def nursery(tmp_path, monkeypatch):
    """A nursery whose workers are the stand-in."""
    name = "segcore.execution.worker"
    code = "\n".join(
        [
            "import sys, types, segcore.execution",
            "from segcore.execution import nursery",
            f"worker = segcore.execution.worker = sys.modules[{name!r}] = types.ModuleType({name!r})",
            f"exec({STAND_IN!r}, worker.__dict__)",
            "nursery.main(int(sys.argv[1]))",
        ]
    )
    popen = subprocess.Popen

    def start_stand_in(command, **options):
        return popen([sys.executable, "-c", code, command[-1]], **options)

    monkeypatch.setattr(nurseries.subprocess, "Popen", start_stand_in)
    made = Nursery(dict(os.environ))
    yield made
    made.close()


def start(nursery, tmp_path, name):
    lock = os.open(tmp_path / f"{name}.lock", os.O_CREAT | os.O_RDWR)
    with (tmp_path / f"{name}.log").open("ab") as log:
        worker = nursery.start(tmp_path / name, log.fileno(), lock, {"MARK": "set"})
    os.close(lock)
    return worker


def test_a_worker_has_its_log_its_variables_and_a_session_of_its_own(nursery, tmp_path):
    worker = start(nursery, tmp_path, "ends")
    assert worker.wait(timeout=30) == 7
    assert (tmp_path / "ends.log").read_text() == "in ends set True\n"


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
    nursery.process.kill()
    nursery.process.wait()
    time.sleep(0.2)
    assert worker.poll() is None and is_alive(worker.pid)
    with pytest.raises(OSError):
        start(nursery, tmp_path, "ends")
    worker.kill()
    assert worker.wait(timeout=30) == nurseries.UNSEEN


def test_an_interrupted_start_leaves_no_worker_behind(nursery, tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    start(nursery, tmp_path, "ends").wait(timeout=30)
    monkeypatch.setattr(nursery, "receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        start(nursery, tmp_path, "sleeps")
    assert nursery.process.returncode == -signal.SIGKILL
    sleeping = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False)
    assert not sleeping.stdout
