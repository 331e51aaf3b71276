import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from segcore import leases
from segcore.execution import claims as claims_module
from segcore.execution.claims import CLAIM_VARIABLE, LEASE, Claims
from segcore.execution.folder import RunFolder
from segcore.execution.stopping import OWNER_VARIABLE

# Holds a run's lease alone, as a process on another machine does where the storage carries no locks of the system.
HOLD_LEASE = """
import sys, time
from pathlib import Path
from segcore import leases
leases.LEASE_SECONDS = 1.0
lease = leases.make_lease(Path(sys.argv[1]))
lease.acquire(timeout=0)
print("held", flush=True)
time.sleep(60)
"""
HOLD_CLAIM = """
import sys, time
from pathlib import Path
from segcore.execution.claims import Claims
from segcore.execution.folder import RunFolder
claim = Claims().take(RunFolder(Path(sys.argv[1])))
print("held", flush=True)
time.sleep(60)
"""

WORK = """
import sys, time
from functools import partial
from pathlib import Path
from segcore.execution.claims import is_taken_over
from segcore.execution.folder import RunFolder
from segcore.execution.stopping import Stop, watch_owner
watch_owner(Stop(), partial(is_taken_over, RunFolder(Path(sys.argv[1]))))
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "LEASE_SECONDS", 1.0)
    return RunFolder(tmp_path / "run")


@pytest.fixture
def hold():
    """A function that starts a process which holds something until it is killed; host: the name of its machine."""
    processes = []

    def hold(code, path, host=None):
        command = [sys.executable, "-c", code, str(path)]
        if host:
            command = ["unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh", *command]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        if process.stdout.readline() != "held\n":
            pytest.skip(f"needs the right to name a machine: {process.stderr.read()[-200:]}")
        return process

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


def test_a_claim_excludes_others_until_it_is_released(folder):
    first = Claims().take(folder)
    assert first is not None
    assert Claims().take(folder) is None
    first.release()
    again = Claims().take(folder)
    assert again is not None
    again.release()


def test_storage_without_locks_of_the_system_leaves_the_lease(folder, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(claims_module.fcntl, "flock", flock)
    claim = Claims().take(folder)
    assert Claims().take(folder) is None
    claim.release()
    again = Claims().take(folder)
    assert again is not None
    again.release()


def test_a_worker_that_lives_on_keeps_the_claim_of_a_runner_that_is_gone(folder):
    claim = Claims().take(folder)
    inherited = os.dup(claim.lock)  # as a worker has it
    claim.release()
    assert Claims().take(folder) is None
    os.close(inherited)
    Claims().take(folder).release()


def test_the_claim_of_a_process_that_was_killed_here_is_free_at_once(folder, hold):
    process = hold(HOLD_CLAIM, folder.path)
    assert Claims().take(folder) is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    claim = Claims().take(folder)
    assert claim is not None
    claim.release()


def take_within(claims, folder, seconds):
    """The claim, and how long it took to get it; None where it was not to be had."""
    start = time.monotonic()
    while (took := time.monotonic() - start) < seconds:
        if claim := claims.take(folder):
            return claim, took
        time.sleep(0.05)
    return None, seconds


def test_a_lease_on_another_machine_holds_while_its_owner_lives_and_expires_when_it_is_dead(folder, hold):
    folder.path.mkdir()
    process = hold(HOLD_LEASE, folder.path / LEASE, host="elsewhere")
    claims = Claims()
    assert take_within(claims, folder, 2.5)[0] is None  # it is renewed
    process.send_signal(signal.SIGKILL)
    process.wait()
    claim, took = take_within(claims, folder, 10)
    assert claim is not None
    assert took > 0.5
    claim.release()


def test_two_that_wait_for_a_dead_owner_do_not_both_get_its_claim(folder, hold):
    folder.path.mkdir()
    hold(HOLD_LEASE, folder.path / LEASE, host="elsewhere").kill()
    first, second = Claims(), Claims()
    got = []
    end = time.monotonic() + 5
    while time.monotonic() < end:
        got += [claim for claim in (first.take(folder), second.take(folder)) if claim]
        time.sleep(0.05)
    assert len(got) == 1
    got[0].release()


def test_an_owner_that_was_held_up_sees_that_its_claim_is_lost(folder, hold):
    folder.path.mkdir()
    mine = leases.make_lease(folder.path / LEASE)
    mine.acquire(timeout=0)
    claim = claims_module.Claim(os.open(folder.path, os.O_RDONLY), mine)
    assert not claim.is_lost
    # What another machine does once the lease has expired; this process was suspended, say.
    (folder.path / LEASE).unlink()
    hold(HOLD_LEASE, folder.path / LEASE, host="elsewhere")
    end = time.monotonic() + 10
    while not claim.is_lost and time.monotonic() < end:
        time.sleep(0.05)
    assert claim.is_lost
    claim.release()
    assert (folder.path / LEASE).exists()  # the other's stays


def test_a_worker_whose_run_is_anothers_is_killed_though_its_owner_lives(folder):
    claim = Claims().take(folder)
    own = {OWNER_VARIABLE: str(os.getpid()), CLAIM_VARIABLE: claim.token}
    worker = subprocess.Popen([sys.executable, "-c", WORK, str(folder.path)], env=os.environ | own)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(3)  # it works as long as the claim is its owner's
    content = (folder.path / LEASE).read_text()
    (folder.path / LEASE).write_text(content.replace(claim.token, "0" * 32))
    assert worker.wait(30) == -signal.SIGKILL
    claim.release()


def test_a_clock_that_jumps_changes_nothing(folder, hold):
    """Times of files in the past or the future say nothing of a lease: what counts is whether they change."""
    folder.path.mkdir()
    process = hold(HOLD_LEASE, folder.path / LEASE, host="elsewhere")
    process.send_signal(signal.SIGSTOP)
    claims = Claims()
    assert claims.take(folder) is None
    for jump in (-1e6, 1e6):
        os.utime(folder.path / LEASE, (time.time() + jump,) * 2)
        assert claims.take(folder) is None
    process.send_signal(signal.SIGCONT)
    assert take_within(claims, folder, 2)[0] is None
