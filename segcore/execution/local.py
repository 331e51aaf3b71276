"""Runs on this machine, each in a process of its own, several at a time."""

import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from segcore import build
from segcore.execution.claims import Claim
from segcore.execution.devices import Devices, Place
from segcore.execution.folder import folder_of
from segcore.execution.jobs import Job, progress_of
from segcore.execution.launching import launch, signals_held, stop
from segcore.execution.nursery import Nursery
from segcore.execution.stage import Stage
from segcore.execution.turns import Turns, UnderWay
from segcore.plan import Run

POLL_SECONDS = 0.2


class Refusal(Enum):
    """Why a run is not started: another process is at work on it; there is nothing left to do, since it ended there."""

    busy = "busy"
    settled = "settled"


class Listener(Protocol):
    """Hears what becomes of runs while a launcher executes them."""

    def start(self, job: UnderWay) -> None:
        """A run's process was started."""

    def tick(self, jobs: Sequence[UnderWay]) -> None:
        """A few times a second: the jobs under way."""

    def again(self, job: UnderWay) -> None:
        """A run ended, and is tried again."""

    def end(self, job: UnderWay) -> None:
        """A run ended."""

    def wait(self, runs: Sequence[Run]) -> None:
        """Nothing is left to start but these runs, which other processes have."""

    def fail(self, run: Run, reason: str) -> None:
        """A run could not be started, because its folder cannot be used."""

    def settle(self, run: Run) -> None:
        """A run ended in another process."""

    def stopping(self, jobs: Sequence[UnderWay]) -> None:
        """The call is to end, and these jobs are told so."""


class LocalLauncher:
    """Starts the runs in their order, at most `jobs` at a time, each in a process of its own.

    claim: makes the folder of a run that is about to be started.  devices: where they train.  retries: how often a run
    that failed or was lost is tried again without having got further.  nursery: forks the workers; without one each is
    a program of its own.

    A forked worker leaves the end of its run to another, which works beside the next training where a core is left.
    Runs that another process has are waited for: they end there, or go on here when that process is gone.
    """

    def __init__(
        self,
        jobs: int,
        claim: Callable[[Run], Claim | Refusal],
        devices: Devices,
        nursery: Nursery | None = None,
        retries: int = 0,
    ) -> None:
        self.jobs = jobs
        self.claim = claim
        self.devices = devices
        self.nursery = nursery
        self.turns = Turns(retries)

    def execute(self, runs: Sequence[Run], listener: Listener) -> None:
        """Execute all runs, and return when each has ended, here or in another process.

        On KeyboardInterrupt the workers are told to stop, and it is raised on when they have.
        """
        waiting, running = list(runs), list[Job]()
        try:
            while waiting or running:
                self.start_ready(waiting, running, listener)
                for job in list(running):
                    self.follow(job)
                    if job.ended:
                        running.remove(job)
                        self.conclude(job, waiting, listener)
                listener.tick(running)
                if waiting and not running and self.turns.are_busy(waiting):
                    listener.wait(waiting)
                self.rest()
        finally:
            if running:
                listener.stopping(running)
            try:
                stop(running)
            finally:
                for job in running:
                    listener.end(job)

    def start_ready(self, waiting: list[Run], running: list[Job], listener: Listener) -> None:
        """Start runs while there is room for them."""
        while (run := self.turns.next_ready(waiting, running)) and self.has_room(run, running):
            place = self.devices.take(run.config)
            if place is None:
                return
            try:
                with signals_held():
                    job = self.start(run, place)
                    if isinstance(job, Job):
                        running.append(job)
                        listener.start(job)
            except OSError as error:
                self.devices.give_back(place)
                waiting.remove(run)
                listener.fail(run, f"{error.filename or folder_of(run).path}: {error.strerror}")
                continue
            if job == Refusal.busy:
                self.turns.refuse(run)
                continue
            self.turns.accept(run)
            waiting.remove(run)
            if job == Refusal.settled:
                listener.settle(run)

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

    def start(self, run: Run, place: Place) -> Job | Refusal:
        """Start a run's training, unless another process has the run or has ended it."""
        claim = self.claim(run)
        if isinstance(claim, Refusal):
            self.devices.give_back(place)
            return claim
        folder = folder_of(run)
        try:
            process, stage = launch(run, folder, Stage.training, claim, place, self.nursery)
        except OSError:
            claim.release()
            raise
        return Job(run, folder, process, stage, place, claim)

    def follow(self, job: Job) -> None:
        """See whether a job's process has ended, or hangs, and have the end of a trained run done."""
        is_trained = job.is_trained and not job.is_lost
        if (is_trained or job.check()) and job.place is not None:
            self.devices.give_back(job.place)
            job.place = None
        if is_trained:
            self.start_end(job)
        elif not job.ended:
            job.end_if_hung()

    def start_end(self, job: Job) -> None:
        """Have the end of a trained run done by another process; where none can be started, the run has failed."""
        assert job.claim is not None
        try:
            with signals_held():
                job.process, job.stage = launch(job.run, job.folder, Stage.end, job.claim, Place(), self.nursery)
        except OSError as error:
            job.give_up(f"its end could not be started: {error.filename or job.folder.path}: {error.strerror}")

    def conclude(self, job: Job, waiting: list[Run], listener: Listener) -> None:
        """Put a run that failed behind those that wait, as often as `retries` allow; else it has ended.

        One that another process has taken over is waited for.
        """
        if job.is_lost:
            self.turns.refuse(job.run)
            waiting.append(job.run)
            listener.again(job)
        elif job.can_be_tried_again and self.turns.grants_another(job.run, progress_of(job.folder)):
            waiting.append(job.run)
            listener.again(job)
        else:
            listener.end(job)


def leaves_a_core(run: Run, jobs: int) -> bool:
    """Whether so many trainings of this kind leave a core to others; one on a GPU takes one core itself."""
    threads = 1 if build.resolve_device(run.config).type == "cuda" else build.resolve_threads(run.config)
    return jobs * threads < build.count_cores()
