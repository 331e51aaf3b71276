"""A run under way as its launcher sees it: its process, whether it makes progress, and how it ended."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segcore.execution.claims import Claim
from segcore.execution.devices import Place
from segcore.execution.folder import RunFolder, State
from segcore.execution.nursery import UNSEEN, ForkedWorker
from segcore.execution.stage import Stage
from segcore.execution.stopping import TRACE_SIGNAL
from segcore.execution.traces import read_place, summarize
from segcore.plan import Run

# A process that hangs is asked to leave a trace of where; after this it is killed.
TRACE_SECONDS = 2.0
# What a process that is at work changes in its run's folder, now and then; not what a thread of its own writes, which
# goes on while the training hangs.
SIGNS_OF_LIFE = ("progress.json", "epochs.jsonl", "log.txt", "results.json", "state.json")
SMALLER = "lower data.batch_size, evaluation.batch_size or data.image_size, or run fewer at a time (--jobs)"
TAKEN_OVER = (
    "this call's claim on the run is gone: it was held up, or runs/ was away, for too long; who has the run now goes on"
)


@dataclass
class Job:
    """A run whose process was started; `ended` once its last process is gone.

    stage: what the process does of the run.  place: where it trains, until it has.  claim: on the run's folder.
    failure: why it failed, where the folder could not take a note of it.  stopped: whether it was told to stop.
    """

    run: Run
    folder: RunFolder
    process: subprocess.Popen[bytes] | ForkedWorker
    stage: Stage = Stage.whole
    place: Place | None = None
    claim: Claim | None = None
    ended: bool = False
    failure: str | None = None
    stopped: bool = False
    life: "Life" = field(init=False)

    def __post_init__(self) -> None:
        self.life = Life(self.folder)
        self.oom_kills = count_oom_kills()

    def check(self) -> bool:
        """Whether the last process just ended; a death that the worker could not note is noted here."""
        status = None if self.ended else self.process.poll()
        if status is None or (self.is_trained and not (self.stopped or self.is_lost)):
            return False
        self.ended = True
        unnoted = ("new", "running", "failed") if self.stopped else ("new", "running")
        try:
            if self.is_lost:
                self.failure = TAKEN_OVER
            elif self.folder.state in unnoted:
                self.note(*self.explain(status), try_again=not self.was_killed_for_memory(status))
        except OSError as error:
            self.failure = f"its folder can't be read: {error.strerror}"
        # Last, because from here on the run may be another process's.
        if self.claim is not None:
            self.claim.release()
        return True

    def give_up(self, reason: str) -> None:
        """It has no process, and none can be started."""
        self.ended = True
        self.note("failed", reason)
        if self.claim is not None:
            self.claim.release()

    @property
    def is_lost(self) -> bool:
        """Whether another process has taken the run over, whose folder it is now."""
        return self.claim is not None and self.claim.is_lost

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

    def explain(self, status: int) -> tuple[State, str]:
        """State and reason of a process that ended without saying why."""
        if self.stopped and self.folder.read("training"):
            return "interrupted", "stopped by a signal, after its training, which is kept"
        if self.stopped and status == -signal.SIGKILL:
            return "interrupted", "ended before it could save; what was trained since its last checkpoint comes again"
        if self.stopped:
            return "interrupted", "stopped by a signal"
        if self.life.ended_after is not None:
            return "failed", self.explain_hang(self.life.ended_after)
        if self.was_killed_for_memory(status):
            return "lost", f"the process was killed by the system, which had run out of memory: {SMALLER}"
        return "lost" if status == -signal.SIGKILL else "failed", explain_death(status)

    def explain_hang(self, seconds: float) -> str:
        """The reason of a hang; the log gets the place where it was as its last lines, for those who read its end."""
        place = read_place(self.folder.log, self.life.log_bytes)
        said = f"no progress for {seconds:.0f} s, more than execution.timeout_minutes allows, so it was ended"
        if not place:
            return said
        with contextlib.suppress(OSError), self.folder.log.open("a", encoding="utf-8") as log:
            calls = "".join(f"  {call}\n" for call in place)
            log.write(f"{said}; it was in, the innermost call first:\n{calls}")
        return f"{said}; it was in {summarize(place)}"

    def was_killed_for_memory(self, status: int) -> bool:
        """Whether the process was killed, and the system had to kill for memory meanwhile."""
        return status == -signal.SIGKILL and not self.stopped and count_oom_kills() > self.oom_kills

    def note(self, state: State, reason: str, *, try_again: bool = True) -> None:
        """Note how the run ended in the folder, or, where that can't be written, here."""
        try:
            self.folder.set_state(state, reason, try_again=try_again)
        except OSError as error:
            self.failure = f"{reason}; and its folder can't be written: {error.strerror}"

    def stop(self) -> None:
        """Tell it to stop; where it trained, its end is left out."""
        try:
            is_under_way = self.process.poll() is None or self.is_trained
            self.stopped = is_under_way and self.folder.state != "failed"
        finally:
            self.process.terminate()

    def end_if_hung(self) -> None:
        """End a process that makes no progress for longer than its settings allow, or whose claim is lost."""
        if self.is_lost:
            self.process.kill()
            return
        if self.life.asked is not None:  # its answer, in the log, is no sign of life
            if time.monotonic() > self.life.asked + TRACE_SECONDS:
                self.process.kill()
            return
        minutes = self.run.config.execution.timeout_minutes
        silent = self.life.seconds_silent(self.stage)
        if minutes is not None and silent >= 60 * minutes:
            self.life.note_end(silent)
            self.process.send_signal(TRACE_SIGNAL)

    @property
    def outcome(self) -> tuple[str, str | None]:
        """State and reason."""
        return ("failed", self.failure) if self.failure else (self.folder.state, self.folder.reason)

    @property
    def can_be_tried_again(self) -> bool:
        """Whether the run ended in a way that another try may not."""
        return self.failure is None and may_be_tried_again(self.folder)


def may_be_tried_again(folder: RunFolder) -> bool:
    """Whether a run ended in a way that another try may not."""
    return folder.state in ("failed", "lost") and bool(folder.read("state").get("try_again", True))


def progress_of(folder: RunFolder) -> tuple[int, ...]:
    """How far a run got, as its heartbeat tells; larger where it got further."""
    done = [bool(folder.read(name)) for name in ("results", "training")]
    where = folder.read("progress")
    try:
        return (*done, int(where.get("epoch", 0)), int(where.get("step", 0)))
    except (TypeError, ValueError, OverflowError):  # damaged
        return (*done, 0, 0)


@dataclass
class Life:
    """Since when a run's process shows no sign of life.

    ended_after: seconds, where it was ended for that.  asked: when it was asked where it is, on a clock that does not
    jump.  log_bytes: the log's length then.
    """

    folder: RunFolder
    ended_after: float | None = None
    asked: float | None = None
    log_bytes: int = 0
    last: Any = None
    since: float = field(default_factory=time.monotonic)

    def seconds_silent(self, stage: Stage) -> float:
        """On a clock that does not jump."""
        signs = stage, *(change_of(self.folder.path / name) for name in SIGNS_OF_LIFE)
        if signs != self.last:
            self.last, self.since = signs, time.monotonic()
        return time.monotonic() - self.since

    def note_end(self, seconds: float) -> None:
        """It is ended for its silence; what the log gets from here on is its answer."""
        self.ended_after, self.asked = seconds, time.monotonic()
        self.log_bytes = (change_of(self.folder.log) or (0, 0))[1]


def change_of(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def count_oom_kills() -> int:
    """Processes that this system has killed because memory ran out, where it tells."""
    vmstat = Path("/proc/vmstat")
    lines = vmstat.read_text().splitlines() if vmstat.is_file() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def explain_death(returncode: int) -> str:
    """Why a process ended that could not say so itself."""
    if returncode == -signal.SIGKILL:
        return "the process was killed (SIGKILL): by hand, or by the system because memory ran out"
    if returncode < 0:
        return f"the process was ended by signal {-returncode}; log.txt in its folder may say more"
    return f"the process ended with status {returncode} before it could report; log.txt in its folder says more"
