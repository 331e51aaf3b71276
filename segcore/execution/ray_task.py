"""A run on a node of a Ray cluster: what its task does there.  Nothing here imports Ray.

The task holds the claim on the run's folder, so that whatever the cluster and other calls do, one process at a time is
at work on a run: a task that Ray starts again elsewhere waits until the claim of the dead node's task has expired.  It
then makes the folder ready, notes that in `task.json`, where the call sees it, and starts the worker, a program of its
own.  (To make it ready beforehand and hand the claim over would leave a moment in which nobody holds it.)
"""

import os
import platform
import signal
import time
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from segcore.execution import folder as folders
from segcore.execution.attempts import Preparation
from segcore.execution.claims import Claim, wait_for_claim
from segcore.execution.devices import Place
from segcore.execution.folder import RunFolder, folder_of
from segcore.execution.jobs import SMALLER, Job, may_be_tried_again, progress_of
from segcore.execution.launching import launch, signals_held, stop
from segcore.execution.stage import Stage
from segcore.execution.variables import NO_GPUS

POLL_SECONDS = 0.2

# Ray starts tasks again without end where a node had no memory left for them.
MOST_FRUITLESS = 5


class Ending(StrEnum):
    """What a task tells of its run: it ended here; it had ended elsewhere; another process is at work on it."""

    ended = "ended"
    settled = "settled"
    busy = "busy"


class NodeError(Exception):
    """A node cannot compute any run of this call."""


class TryAgainError(Exception):
    """A run failed in a way that another try may not."""


@dataclass(frozen=True)
class Assignment:
    """What a task is told.  call: of runner.py.  project: the folder that the call was made in, which all nodes reach.

    has_gpu: whether Ray gives it a share of one.
    """

    preparation: Preparation
    call: str
    project: str
    has_gpu: bool = False


@dataclass(frozen=True)
class Beginning:
    """What `task.json` holds: how often the call has begun the run, by which node, and what the folder held before.

    before: state and reason of the process before, if there was one.  continues: the same, where an earlier call began
    the attempt.  earlier: the folder that was set aside.  progress: how far the run was.  fruitless: how often in a row
    the call had begun it without its getting further.
    """

    call: str
    number: int
    node: str
    pid: int
    before: tuple[str, str | None] | None = None
    continues: tuple[str, str | None] | None = None
    earlier: str | None = None
    progress: list[int] = field(default_factory=list)
    fruitless: int = 0


def execute(assignment: Assignment) -> Ending:
    """Compute a run on this node.  Raises NodeError and TryAgainError; KeyboardInterrupt stops it."""
    # Ray stops a task by this signal, which is ignored below a shell's background jobs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    enter(assignment)
    folder = folder_of(assignment.preparation.run)
    claim = wait_for_claim(folder)
    if claim is None:
        return Ending.busy
    jobs: list[Job] = []
    try:
        if (ending := find_ending(assignment, folder)) is not None:
            return ending
        if begin(assignment, folder).fruitless > MOST_FRUITLESS:
            reason = f"Ray has begun it {MOST_FRUITLESS + 1} times without its getting further: {SMALLER}"
            folder.set_state("failed", reason, try_again=False)
            return Ending.ended
        with signals_held():
            jobs.append(start(assignment, folder, claim))
        follow(jobs[0])
    except BaseException as error:  # nobody would watch over the worker any more
        stop(jobs)
        if not isinstance(error, KeyboardInterrupt):
            raise
    finally:
        if not jobs:
            claim.release()
    if not jobs or not jobs[0].can_be_tried_again or jobs[0].stopped:
        return Ending.ended
    raise TryAgainError(f"{folder.state}: {folder.reason}")


def enter(assignment: Assignment) -> None:
    """Work in the call's folder.  Raises NodeError where this node does not reach it."""
    project, call = Path(assignment.project), assignment.call
    needs = "every node has to reach the folder in which runner.py is called, under the same path"
    try:
        os.chdir(project)
    except OSError as error:
        raise NodeError(f"node {platform.node()}: {project}: {error.strerror}; {needs}") from None
    if not marker_of(call).exists():
        raise NodeError(f"node {platform.node()}: {project} is another folder here than where runner.py runs; {needs}")


def look(assignment: Assignment) -> str | None:
    """What is wrong with this node, or None."""
    try:
        enter(assignment)
    except NodeError as error:
        return str(error)
    return None


def marker_of(call: str) -> Path:
    """A file that is there while a call executes runs, by which nodes tell its folder from others of that name."""
    return folders.RUNS / f".call-{call}"


def read_beginning(folder: RunFolder) -> Beginning | None:
    """The last time that a task began the run; None where none has."""
    content = folder.read("task")
    try:
        return Beginning(**content) if content else None
    except TypeError:  # of another version of the suite
        return None


def find_ending(assignment: Assignment, folder: RunFolder) -> Ending | None:
    """How the run has ended by now, if it has: in another call, or in a task of this one that could not say so."""
    beginning = read_beginning(folder)
    if beginning is None or beginning.call != assignment.call:
        return Ending.settled if assignment.preparation.is_settled() else None
    has_failed = folder.state == "failed" and not may_be_tried_again(folder)
    return Ending.ended if has_failed or folder.state in ("finished", "diverged") else None


def begin(assignment: Assignment, folder: RunFolder) -> Beginning:
    """Make the folder ready, note that, and return the note."""
    before = read_beginning(folder)
    is_begun = before is not None and before.call == assignment.call
    was = describe_end(folder)
    earlier = assignment.preparation.make_ready(is_begun=is_begun)
    progress = list(progress_of(folder))
    beginning = Beginning(assignment.call, 1, platform.node(), os.getpid(), before=was, progress=progress)
    if is_begun and before is not None:
        beginning = replace(beginning, number=before.number + 1, continues=before.continues, earlier=before.earlier)
        if progress == before.progress:
            beginning = replace(beginning, fruitless=before.fruitless + 1)
    elif earlier is None:
        beginning = replace(beginning, continues=was)
    else:
        beginning = replace(beginning, earlier=str(earlier.path))
    folder.write("task", asdict(beginning))
    return beginning


def describe_end(folder: RunFolder) -> tuple[str, str | None] | None:
    """How the last process ended, whose claim is this task's now; None where there was none."""
    if folder.state == "running":
        return "lost", "its node, or the process that watched over it, is gone"
    return None if folder.state == "new" else (folder.state, folder.reason)


def start(assignment: Assignment, folder: RunFolder, claim: Claim) -> Job:
    """The run's worker, which stops itself when this process is gone."""
    # Ray hides GPUs that it did not give by itself, but not where the task asked for none.
    place = Place() if assignment.has_gpu else Place(environment=tuple(NO_GPUS.items()))
    run = assignment.preparation.run
    process, stage = launch(run, folder, Stage.whole, claim, place, None)
    return Job(run, folder, process, stage, place, claim)


def follow(job: Job) -> None:
    """See the worker to its end."""
    while not job.check():
        job.end_if_hung()
        time.sleep(POLL_SECONDS)
