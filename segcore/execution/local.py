"""Runs on this machine, each in a process of its own, several at a time."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from segcore.execution.environment import PROJECT
from segcore.execution.folder import RunFolder, folder_of
from segcore.execution.nursery import ForkedWorker, Nursery
from segcore.plan import Run

POLL_SECONDS = 0.2
# A worker that is told to stop notes that it was interrupted; after this it is killed.
STOP_SECONDS = 15.0
# Else glibc gives every large tensor back to the system at the end of its life, and each new one faults its pages in
# again: a fifth of a training step on a CPU (docs/decisions.md).
KEEP_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184"


@dataclass
class Job:
    """A run whose process was started; `ended` once that process is gone.

    failure: why it failed, where the folder could not take a note of it.
    """

    run: Run
    folder: RunFolder
    process: subprocess.Popen[bytes] | ForkedWorker
    ended: bool = False
    failure: str | None = None

    def check(self) -> bool:
        """Whether the process just ended; a death that the worker could not note is noted here."""
        status = None if self.ended else self.process.poll()
        if status is None:
            return False
        self.ended = True
        if self.folder.state in ("new", "running"):
            self.fail(explain_death(status))
        return True

    def fail(self, reason: str) -> None:
        """Note the failure in the folder, or, where that can't be written, here."""
        try:
            self.folder.set_state("failed", reason)
        except OSError as error:
            self.failure = f"{reason}; and its folder can't be written: {error.strerror}"

    @property
    def outcome(self) -> tuple[str, str | None]:
        """State and reason."""
        return ("failed", self.failure) if self.failure else (self.folder.state, self.folder.reason)


def explain_death(returncode: int) -> str:
    """Why a process ended that could not say so itself."""
    if returncode == -9:
        return "the process was killed (SIGKILL): by hand, or by the system because memory ran out"
    if returncode < 0:
        return f"the process was ended by signal {-returncode}; log.txt in its folder may say more"
    return f"the process ended with status {returncode} before it could report; log.txt in its folder says more"


class LocalLauncher:
    """Starts the runs in their order, at most `jobs` at a time, each in a process of its own.

    Once it is warmed up, these are forked from a nursery, which has imported already what they need.
    claim: makes the folder of a run that is about to be started, and returns the descriptor of its lock, which the
    worker inherits; None where another process is at work on the run.
    """

    def __init__(self, jobs: int, claim: Callable[[Run], int | None]) -> None:
        self.jobs = jobs
        self.claim = claim
        self.nursery: Nursery | None = None

    def warm_up(self) -> None:
        """Begin with the imports, beside whatever comes before the first run; `close` has to follow."""
        if hasattr(os, "fork"):
            self.nursery = Nursery(worker_environment("auto"))

    def close(self) -> None:
        """End the nursery."""
        if self.nursery is not None:
            self.nursery.close()
            self.nursery = None

    def execute(
        self,
        runs: Sequence[Run],
        on_start: Callable[[Job], None],
        on_tick: Callable[[Sequence[Job]], None],
        on_end: Callable[[Job], None],
    ) -> None:
        """Execute all runs.  The callbacks hear of each start, of the running jobs a few times a second, of each end.

        On KeyboardInterrupt the workers are told to stop, and it is raised on when they have.
        """
        waiting, running = list(runs), list[Job]()
        try:
            while waiting or running:
                while len(running) < self.jobs and (run := next_ready(waiting, running)):
                    waiting.remove(run)
                    lock = self.claim(run)
                    if lock is not None:
                        running.append(launch(run, lock, self.nursery))
                        on_start(running[-1])
                for job in [job for job in running if job.check()]:
                    running.remove(job)
                    on_end(job)
                on_tick(running)
                time.sleep(POLL_SECONDS)
        finally:
            stop(running)
            for job in running:
                on_end(job)


def next_ready(waiting: Sequence[Run], running: Sequence[Job]) -> Run | None:
    """The first run whose training is not under way: one that differs only in its evaluation takes that over."""
    under_way = {job.run.training_fingerprint for job in running}
    return next((run for run in waiting if run.training_fingerprint not in under_way), None)


def launch(run: Run, lock: int, nursery: Nursery | None) -> Job:
    """Start a run's worker, which takes over the lock; its output goes into the folder's log."""
    folder = folder_of(run)
    with folder.log.open("ab") as log:
        process = fork(run, folder, log.fileno(), lock, nursery) or spawn(run, folder, log, lock)
    os.close(lock)
    return Job(run, folder, process)


def fork(run: Run, folder: RunFolder, log: int, lock: int, nursery: Nursery | None) -> ForkedWorker | None:
    """A worker out of the nursery; None where there is no nursery, or no more."""
    if nursery is None:
        return None
    try:
        return nursery.start(folder.path, log, lock, thread_variables(run.config.execution.threads))
    except OSError:
        return None


def spawn(run: Run, folder: RunFolder, log: IO[bytes], lock: int) -> subprocess.Popen[bytes]:
    """A worker as a program of its own, which imports everything anew."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "segcore.execution.worker", str(folder.path)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=worker_environment(run.config.execution.threads),
        pass_fds=[lock],
        start_new_session=True,  # Ctrl-C reaches the runner alone, which then tells the workers
    )


def worker_environment(threads: int | str) -> dict[str, str]:
    """The environment variables of a process that trains.  threads: of the run, or `auto`."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    environment = {"GLIBC_TUNABLES": KEEP_MEMORY} | os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    return environment | thread_variables(threads)


def thread_variables(threads: int | str) -> dict[str, str]:
    """The environment variables that limit the threads of a run; none where they are `auto`."""
    return {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if isinstance(threads, int)}


def stop(jobs: Sequence[Job]) -> None:
    """Tell the workers to stop, wait a while, kill those that have not."""
    for job in jobs:
        job.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for job in jobs:
        try:
            job.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            job.process.kill()
            job.process.wait()
        job.check()
        if job.folder.state == "failed":
            job.folder.set_state("interrupted", "stopped by a signal")
