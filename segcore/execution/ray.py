"""Runs on a Ray cluster, each a task with its resources.

Ray queues them, chooses their nodes, and starts those again whose node has died.  This side only hands runs over and
tells the listener what it reads in `runs/`.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from segcore.execution.attempts import mark_lost
from segcore.execution.claims import MOST_WAITING_SECONDS, Claims
from segcore.execution.folder import RunFolder, folder_of
from segcore.execution.jobs import may_be_tried_again, progress_of
from segcore.execution.local import Listener, Refusal
from segcore.execution.ray_cluster import Cluster, import_ray, last_line
from segcore.execution.ray_task import (
    Assignment,
    Beginning,
    Ending,
    NodeError,
    TryAgainError,
    execute,
    marker_of,
    read_beginning,
)
from segcore.execution.stopping import STOP_SECONDS
from segcore.execution.turns import Turns
from segcore.plan import Run

# Of all tasks; they write to storage that is shared, and their news is not urgent.
POLL_SECONDS = 0.5
# So many runs are Ray's at a time, those that it has not found a place for among them.
MOST_QUEUED = 1000


@dataclass
class RayJob:
    """A run that is Ray's.  is_shown: whether it has begun, and the listener knows.

    failure: why its task came to nothing.  before: how its process before ended, while the listener is told of that.
    deadline: of a run whose task is gone, until when its claim may still be held by nobody that lives.
    """

    run: Run
    folder: RunFolder
    task: Any
    is_shown: bool = False
    failure: str | None = None
    before: tuple[str, str | None] | None = None
    deadline: float = 0.0

    @property
    def outcome(self) -> tuple[str, str | None]:
        """State and reason."""
        return self.before or (("failed", self.failure) if self.failure else (self.folder.state, self.folder.reason))


class RayLauncher:
    """Hands the runs to Ray in their order, at most `jobs` at a time; as many as the cluster takes where that is 0.

    assign: what a node is told of a run.  note_beginning: hears that a node has begun a run, or, with None, that
    another call has ended it.  retries: how often a run is tried again without having got further; Ray does that.
    """

    def __init__(
        self,
        cluster: Cluster,
        jobs: int,
        assign: Callable[[Run], Assignment],
        note_beginning: Callable[[Run, Beginning | None], None],
        claims: Claims,
        retries: int = 0,
    ) -> None:
        self.cluster = cluster
        self.most = min(jobs or MOST_QUEUED, MOST_QUEUED)
        self.assign = assign
        self.note_beginning = note_beginning
        self.claims = claims
        self.retries = retries
        self.turns = Turns(retries)
        self.ray = import_ray()
        self.remote = self.ray.remote(execute)
        # How often each run was begun, as far as the listener knows.
        self.begun: dict[str, int] = {}
        # Runs that have ended with their nodes, and whose claims have not expired.
        self.gone: list[RayJob] = []

    def execute(self, runs: Sequence[Run], listener: Listener) -> None:
        """Execute all runs, and return when each has ended, here or in another call.

        On KeyboardInterrupt the tasks are told to stop, and it is raised on when they have.  Raises UserError where a
        node does not reach the call's folder, or none has what a run asks for.
        """
        waiting, running = list(runs), list[RayJob]()
        with self.marked(runs):
            try:
                while waiting or running or self.gone:
                    self.submit_ready(waiting, running, listener)
                    self.follow(waiting, running, listener)
                    self.note_losses(listener)
                    listener.tick([job for job in running if job.is_shown])
                    if waiting and not running and self.turns.are_busy(waiting):
                        listener.wait(waiting)
                    if not running:
                        time.sleep(POLL_SECONDS)
            finally:
                self.stop(running, listener)

    @contextlib.contextmanager
    def marked(self, runs: Sequence[Run]) -> Iterator[None]:
        """While entered, the call's folder can be told from others; all nodes have been seen to reach it."""
        if not runs:
            yield
            return
        assignment = self.assign(runs[0])
        marker = marker_of(assignment.call)
        marker.touch()
        try:
            for run in runs:
                self.cluster.resources(run)
            self.cluster.check(assignment)
            yield
        finally:
            marker.unlink(missing_ok=True)

    def submit_ready(self, waiting: list[Run], running: list[RayJob], listener: Listener) -> None:
        """Hand over runs while there is room for them."""
        while len(running) < self.most and (run := self.turns.next_ready(waiting, running)):
            try:
                refusal = self.find_refusal(run)
            except OSError as error:
                waiting.remove(run)
                listener.fail(run, f"{error.filename or folder_of(run).path}: {error.strerror}")
                continue
            if refusal == Refusal.busy:
                self.turns.refuse(run)
                continue
            self.turns.accept(run)
            waiting.remove(run)
            if refusal == Refusal.settled:
                self.settle(run, listener)
            else:
                running.append(self.submit(run))

    def find_refusal(self, run: Run) -> Refusal | None:
        """Why a run is not handed over now, if so; its task looks again, but only when there is a place for it."""
        claim = self.claims.take(folder_of(run))
        if claim is None:
            return Refusal.busy
        claim.release()
        is_settled = run.fingerprint not in self.begun and self.assign(run).preparation.is_settled()
        return Refusal.settled if is_settled else None

    def settle(self, run: Run, listener: Listener) -> None:
        """A run was brought to its end by another call."""
        self.note_beginning(run, None)
        listener.settle(run)

    def submit(self, run: Run) -> RayJob:
        """Hand a run over to Ray."""
        folder, options = folder_of(run), self.options(run)
        assignment = replace(self.assign(self.cluster.with_threads(run)), has_gpu=options["num_gpus"] > 0)
        self.turns.hand_over(run, progress_of(folder))
        return RayJob(run, folder, self.remote.options(**options).remote(assignment))

    def options(self, run: Run) -> dict[str, Any]:
        """What Ray is asked for: resources, and when it tries again."""
        return {
            "name": run.name,
            "max_retries": self.retries,
            "retry_exceptions": [TryAgainError],
            "scheduling_strategy": "SPREAD",
            **self.cluster.resources(run),
        }

    def follow(self, waiting: list[Run], running: list[RayJob], listener: Listener) -> None:
        """Hear of tasks that have begun or ended, for a moment."""
        tasks = [job.task for job in running]
        ended = set(self.ray.wait(tasks, num_returns=len(tasks), timeout=POLL_SECONDS)[0]) if tasks else set()
        for job in list(running):
            self.hear(job, listener)
            if job.task in ended:
                running.remove(job)
                self.conclude(job, waiting, listener)

    def hear(self, job: RayJob, listener: Listener) -> None:
        """Tell of a task that has begun its run, maybe again on another node."""
        beginning, key = read_beginning(job.folder), job.run.fingerprint
        if beginning is None or beginning.call != self.assign(job.run).call:
            return
        if beginning.number > self.begun.get(key, 0):
            self.begun[key] = beginning.number
            if job.is_shown:
                job.before = beginning.before
                listener.again(job)
                job.before = None
            self.note_beginning(job.run, beginning)
            self.show(job, listener)

    def show(self, job: RayJob, listener: Listener) -> None:
        """The listener has to know of a job before its end."""
        job.is_shown = True
        listener.start(job)

    def conclude(self, job: RayJob, waiting: list[Run], listener: Listener) -> None:
        """A task has ended: its run has, or waits again."""
        ending, has_failed = self.read_ending(job)
        if ending == Ending.settled:
            self.settle(job.run, listener)
            return
        if ending == Ending.busy:
            self.turns.refuse(job.run)
            waiting.append(job.run)
            return
        if not job.is_shown:
            self.show(job, listener)
        if has_failed and self.turns.grants_another(job.run, progress_of(job.folder)):
            listener.again(job)
            waiting.append(job.run)
            return
        if has_failed and job.failure:
            job.deadline = time.monotonic() + MOST_WAITING_SECONDS
            self.gone.append(job)
            return
        listener.end(job)

    def read_ending(self, job: RayJob) -> tuple[Ending, bool]:
        """What the task says, and whether the run failed as another time it may not, which Ray has tried by then."""
        exceptions = self.ray.exceptions
        try:
            return self.ray.get(job.task), False
        except TryAgainError:
            return Ending.ended, may_be_tried_again(job.folder)
        except NodeError as error:
            job.failure = str(error)
            return Ending.ended, False
        except exceptions.RayTaskError as error:
            job.failure = f"its task failed: {last_line(error)}"
            return Ending.ended, False
        except exceptions.RayError as error:
            job.failure = f"its node or its task is gone ({type(error).__name__}), and Ray has tried it again"
            return Ending.ended, True

    def note_losses(self, listener: Listener) -> None:
        """Note in its folder that nobody is at work on a run any more, once its dead owner's claim has expired."""
        for job in list(self.gone):
            claim = self.claims.take(job.folder)
            if claim is not None:
                if job.folder.state == "running":
                    mark_lost(job.folder)
                claim.release()
            if claim is not None or time.monotonic() > job.deadline:
                self.gone.remove(job)
                listener.end(job)

    def stop(self, running: Sequence[RayJob], listener: Listener) -> None:
        """Tell the tasks to stop, and wait until they have saved their trainings; a second signal does not wait."""
        if shown := [job for job in running if job.is_shown]:
            listener.stopping(shown)
        tasks = [job.task for job in running]
        try:
            for task in tasks:
                self.ray.cancel(task)
            if tasks:
                self.ray.wait(tasks, num_returns=len(tasks), timeout=STOP_SECONDS)
        finally:
            for job in running:
                with contextlib.suppress(OSError):
                    self.hear(job, listener)  # of what has begun since it was looked at last
            for job in [*self.gone, *(job for job in running if job.is_shown)]:
                listener.end(job)
