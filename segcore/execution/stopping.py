"""How a worker stops: for a signal, or since its runner is gone; at once, or, while it trains, between two steps."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

import psutil  # type: ignore[import-untyped]

# Names the process that a worker works for.
OWNER_VARIABLE = "SEGCORE_OWNER"
# A worker that gets this leaves a trace in its log of where it is.
TRACE_SIGNAL = signal.SIGUSR1
# How often a worker looks whether its owner is alive.
LOOK_SECONDS = 1.0
# A worker whose owner is gone kills itself after this: before its claim, which was renewed every third of a lease, can
# be another's.
ORPHAN_SECONDS = 30.0
# A worker that is told to stop saves its training and notes that it was interrupted; after this it is killed.
STOP_SECONDS = 60.0


@dataclass
class Stop:
    """Whether the worker is to stop, and why.

    waits: while true, a signal is only noted, and `check` raises KeyboardInterrupt; else the signal does.
    """

    wanted: bool = False
    reason: str = "stopped by a signal"
    waits: bool = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """The handler of SIGTERM."""
        self.wanted = True
        if not self.waits:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt where the worker is to stop."""
        if self.wanted:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[None]:
        """While entered, the worker stops where it calls `check`, and at the latest at the end."""
        self.waits = True
        try:
            yield
            self.check()
        finally:
            self.waits = False


def watch_owner(stop: Stop, is_taken_over: Callable[[], bool] = lambda: False) -> None:
    """Stop this process when the one that it works for is gone: nobody would see it end, or hang.

    A thread looks; where the process does not stop, it is killed.  It is killed at once where its run is another's.
    """
    number = os.environ.get(OWNER_VARIABLE)
    if number is None:
        return
    owner = find_process(int(number))

    def leave_to_others() -> None:
        """Whatever this process would still write would be in the other's way."""
        if is_taken_over():
            time.sleep(LOOK_SECONDS / 10)
            if is_taken_over():  # not for a moment, in which somebody looked at the lease
                os.kill(os.getpid(), signal.SIGKILL)

    def watch() -> None:
        while owner is not None and is_alive(owner):
            leave_to_others()
            time.sleep(LOOK_SECONDS)
        leave_to_others()
        stop.reason = "its runner is gone"
        os.kill(os.getpid(), signal.SIGTERM)
        end = time.monotonic() + ORPHAN_SECONDS
        while time.monotonic() < end:
            leave_to_others()
            time.sleep(LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="watch-owner", daemon=True).start()


def find_process(number: int) -> psutil.Process | None:
    """The process of that number; None where there is none."""
    try:
        return psutil.Process(number)
    except psutil.NoSuchProcess:
        return None


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs, rather than that it has ended, or that its number is another's by now."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
