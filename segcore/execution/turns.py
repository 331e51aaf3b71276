"""Whose turn it is: which of the runs that wait can be started, and which of those that ended badly are tried again."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from segcore.execution.folder import RunFolder
from segcore.plan import Run

# How often a run that another process has is looked at again.
LOOK_AGAIN_SECONDS = 1.0


class UnderWay(Protocol):
    """A run under way, as a listener sees it."""

    @property
    def run(self) -> Run:
        """What is computed."""

    @property
    def folder(self) -> RunFolder:
        """Where it is kept."""

    @property
    def outcome(self) -> tuple[str, str | None]:
        """State and reason."""


@dataclass
class Turns:
    """Remembers which runs other processes have, and how often and with what success each was tried.

    retries: how often a run that failed or was lost is tried again without having got further.
    """

    retries: int
    refused: dict[str, float] = field(default_factory=dict)
    tries: Counter[str] = field(default_factory=Counter)
    furthest: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def next_ready(self, waiting: Sequence[Run], running: Sequence[UnderWay]) -> Run | None:
        """The first run that can be started."""
        now = time.monotonic()
        free = [run for run in waiting if now - self.refused.get(run.fingerprint, -1e9) >= LOOK_AGAIN_SECONDS]
        return next_ready(free, running)

    def refuse(self, run: Run) -> None:
        """It was just seen that another process has the run."""
        self.refused[run.fingerprint] = time.monotonic()

    def accept(self, run: Run) -> None:
        """No other process has the run, or it has ended there."""
        self.refused.pop(run.fingerprint, None)

    def are_busy(self, waiting: Sequence[Run]) -> bool:
        """Whether all runs that wait are other processes'."""
        return all(run.fingerprint in self.refused for run in waiting)

    def hand_over(self, run: Run, progress: tuple[int, ...]) -> None:
        """Somebody else tries the run from here on, as often as `retries` allow without its getting further."""
        self.furthest.setdefault(run.fingerprint, progress)
        self.tries[run.fingerprint] = self.retries

    def grants_another(self, run: Run, progress: tuple[int, ...]) -> bool:
        """Whether a run that ended badly, having got so far, is tried again."""
        key = run.fingerprint
        if progress > self.furthest.get(key, ()):
            self.furthest[key], self.tries[key] = progress, 0
        if self.tries[key] >= self.retries:
            return False
        self.tries[key] += 1
        return True


def next_ready(waiting: Sequence[Run], running: Sequence[UnderWay]) -> Run | None:
    """The first run whose training is not under way: one that differs only in its evaluation takes that over."""
    under_way = {job.run.training_fingerprint for job in running}
    return next((run for run in waiting if run.training_fingerprint not in under_way), None)
