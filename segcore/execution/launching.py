"""Processes for the stages of runs: started so that none goes unseen, and stopped so that nothing is lost."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO

from segcore.execution.claims import CLAIM_VARIABLE, Claim
from segcore.execution.devices import Place
from segcore.execution.folder import RunFolder
from segcore.execution.jobs import Job
from segcore.execution.nursery import ForkedWorker, Nursery
from segcore.execution.stage import Stage
from segcore.execution.stopping import OWNER_VARIABLE, STOP_SECONDS
from segcore.execution.variables import NO_GPUS, thread_variables, worker_environment
from segcore.plan import Run

# Signals that end a call.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """While entered, a signal that ends the call waits: between a worker's start and its note nobody would stop it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {number: handler for number in ENDING if callable(handler := signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def launch(
    run: Run, folder: RunFolder, stage: Stage, claim: Claim, place: Place, nursery: Nursery | None
) -> tuple[subprocess.Popen[bytes] | ForkedWorker, Stage]:
    """Start a process for a stage of a run, and tell for which; its output goes into the folder's log.

    Without a nursery, what was to be the training is the whole run.
    """
    variables = thread_variables(run.config.execution.threads) | dict(place.environment)
    variables |= {OWNER_VARIABLE: str(os.getpid()), CLAIM_VARIABLE: claim.token}
    if stage == Stage.end:
        variables |= NO_GPUS
    locks = [claim.lock] if place.lock is None else [claim.lock, place.lock]
    with folder.log.open("ab") as log:
        if nursery is not None:
            with contextlib.suppress(OSError):
                return nursery.start(folder.path, stage, log.fileno(), locks, variables), stage
        stage = Stage.whole if stage == Stage.training else stage
        return spawn(folder, stage, log, locks, worker_environment() | variables), stage


def spawn(
    folder: RunFolder, stage: Stage, log: IO[bytes], locks: Sequence[int], environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """A worker as a program of its own, which imports everything anew."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "segcore.execution.worker", str(folder.path), stage],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        pass_fds=locks,
        start_new_session=True,  # Ctrl-C reaches the runner alone, which then tells the workers
    )


def stop(jobs: Sequence[Job]) -> None:
    """Tell the workers to stop, wait until they have saved their trainings, kill those that take too long.

    A second signal to this process kills them at once.
    """
    for job in jobs:
        with contextlib.suppress(OSError):  # its folder can't be read; it was told all the same
            job.stop()
    try:
        wait_for_ends(jobs, STOP_SECONDS)
    finally:
        for job in jobs:
            job.process.kill()
            job.process.wait()
            job.check()


def wait_for_ends(jobs: Sequence[Job], seconds: float) -> None:
    """Wait until all processes have ended, but not for longer."""
    deadline = time.monotonic() + seconds
    for job in jobs:
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.process.wait(max(0.0, deadline - time.monotonic()))
