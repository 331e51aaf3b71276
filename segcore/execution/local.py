"""Runs on this machine, each in a process of its own, several at a time."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from segcore import build
from segcore.execution.devices import Devices, Place
from segcore.execution.folder import RunFolder, folder_of
from segcore.execution.nursery import UNSEEN, ForkedWorker, Nursery
from segcore.execution.stage import Stage
from segcore.execution.variables import NO_GPUS, thread_variables, worker_environment
from segcore.plan import Run

POLL_SECONDS = 0.2
# A worker that is told to stop notes that it was interrupted; after this it is killed.
STOP_SECONDS = 15.0
# Signals that end a call.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Job:
    """A run whose process was started; `ended` once its last process is gone.

    stage: what the process does of the run.  place: where it trains, until it has.  lock: of the run's folder.
    failure: why it failed, where the folder could not take a note of it.
    """

    run: Run
    folder: RunFolder
    process: subprocess.Popen[bytes] | ForkedWorker
    stage: Stage = Stage.whole
    place: Place | None = None
    lock: int | None = None
    ended: bool = False
    failure: str | None = None

    def check(self) -> bool:
        """Whether the last process just ended; a death that the worker could not note is noted here."""
        status = None if self.ended else self.process.poll()
        if status is None or self.is_trained:
            return False
        self.ended = True
        if self.lock is not None:
            os.close(self.lock)
        if self.folder.state in ("new", "running"):
            self.fail(explain_death(status))
        return True

    @property
    def is_trained(self) -> bool:
        """Whether the process has trained and tested, and has left the end to another."""
        if self.stage != Stage.training or self.ended:
            return False
        status = self.process.poll()
        # Where nobody saw the process end, because the nursery had died, what it left tells.
        return status == 0 or (
            status == UNSEEN and self.folder.state == "running" and bool(self.folder.read("results"))
        )

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

    claim: makes the folder of a run that is about to be started, and returns the descriptor of its lock, which the
    worker inherits; None where another process is at work on the run.
    devices: where they train.  nursery: forks the workers; without one each is a program of its own.

    A forked worker leaves the end of its run to another, which works beside the next training where a core is left.
    """

    def __init__(
        self, jobs: int, claim: Callable[[Run], int | None], devices: Devices, nursery: Nursery | None = None
    ) -> None:
        self.jobs = jobs
        self.claim = claim
        self.devices = devices
        self.nursery = nursery

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
                while (run := next_ready(waiting, running)) and self.has_room(run, running):
                    place = self.devices.take(run.config)
                    if place is None:
                        break
                    waiting.remove(run)
                    with signals_held():
                        if job := self.start(run, place):
                            running.append(job)
                            on_start(job)
                for job in list(running):
                    self.follow(job)
                    if job.ended:
                        running.remove(job)
                        on_end(job)
                on_tick(running)
                self.rest()
        finally:
            stop(running)
            for job in running:
                on_end(job)

    def rest(self) -> None:
        """Wait a little, or until a forked worker has ended."""
        if self.nursery is None:
            time.sleep(POLL_SECONDS)
        else:
            self.nursery.rest(POLL_SECONDS)

    def has_room(self, run: Run, running: Sequence[Job]) -> bool:
        """Whether a run can start beside those that are under way."""
        ending = sum(job.stage == Stage.end for job in running)
        if len(running) - ending >= self.jobs:
            return False
        return not ending or (ending <= self.jobs and leaves_a_core(run, self.jobs))

    def start(self, run: Run, place: Place) -> Job | None:
        """Start a run's training; None where another process has the run."""
        lock = self.claim(run)
        if lock is None:
            self.devices.give_back(place)
            return None
        folder = folder_of(run)
        process, stage = launch(run, folder, Stage.training, lock, place, self.nursery)
        return Job(run, folder, process, stage, place, lock)

    def follow(self, job: Job) -> None:
        """See whether a job's process has ended, and have the end of a trained run done."""
        is_trained = job.is_trained
        if (is_trained or job.check()) and job.place is not None:
            self.devices.give_back(job.place)
            job.place = None
        if is_trained:
            assert job.lock is not None
            with signals_held():
                job.process, job.stage = launch(job.run, job.folder, Stage.end, job.lock, Place(), self.nursery)


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


def next_ready(waiting: Sequence[Run], running: Sequence[Job]) -> Run | None:
    """The first run whose training is not under way: one that differs only in its evaluation takes that over."""
    under_way = {job.run.training_fingerprint for job in running}
    return next((run for run in waiting if run.training_fingerprint not in under_way), None)


def leaves_a_core(run: Run, jobs: int) -> bool:
    """Whether so many trainings of this kind leave a core to others; one on a GPU takes one core itself."""
    threads = 1 if build.resolve_device(run.config).type == "cuda" else build.resolve_threads(run.config)
    return jobs * threads < build.count_cores()


def launch(
    run: Run, folder: RunFolder, stage: Stage, lock: int, place: Place, nursery: Nursery | None
) -> tuple[subprocess.Popen[bytes] | ForkedWorker, Stage]:
    """Start a process for a stage of a run, and tell for which; its output goes into the folder's log.

    Without a nursery, what was to be the training is the whole run.
    """
    variables = thread_variables(run.config.execution.threads) | dict(place.environment)
    if stage == Stage.end:
        variables |= NO_GPUS
    locks = [lock] if place.lock is None else [lock, place.lock]
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
    """Tell the workers to stop, wait a while, kill those that have not."""
    failed = {job.folder.path for job in jobs if job.folder.state == "failed"}
    for job in jobs:
        job.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for job in jobs:
        try:
            job.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            job.process.kill()
            job.process.wait()
        is_cut_short = job.is_trained  # its end has not begun
        job.check()
        if is_cut_short or (job.folder.state == "failed" and job.folder.path not in failed):
            job.folder.set_state("interrupted", "stopped by a signal")
