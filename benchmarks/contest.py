"""What the contenders share: the work that each of them does, and what it reports of it."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

Item = TypeVar("Item")


@dataclass(frozen=True)
class Work:
    """The same training for every contender.

    root: a folder with `images/` and `annotations/`, as Oxford-IIIT Pet is unpacked.  train, validation: names of its
    images.  epochs: those that are timed; one more before them warms up.  workers: processes that load data, for the
    contenders that have such.  cache: a folder for decoded images.  compile: of the suite, `trainer.compile`.
    """

    model: str
    root: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    image_size: int
    batch_size: int
    epochs: int
    workers: int
    cache: str
    device: str = "auto"
    learning_rate: float = 1e-3
    compile: bool | str = "auto"

    @property
    def torch_device(self) -> torch.device:
        """The device that the work is done on."""
        available = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device(available if self.device == "auto" else self.device)


@dataclass
class Outcome:
    """What a contender measured, in seconds; lists hold a number an epoch, that of the warm-up first.

    images: that an epoch really trained.  start: from the start of the process to the first epoch.  training: from the
    first request for data to the last weights.  waiting: the part of it in which the training loop waited for the next
    batch.  evaluation: a pass over the validation images.  recording: after it, until the epoch's results are on disk;
    empty where nothing is kept.  losses: the mean training loss.  gpu_gib: the most that was allocated on the GPU.
    """

    precision: str
    images: int
    start: float = 0.0
    training: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    evaluation: list[float] = field(default_factory=list)
    recording: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    gpu_gib: float | None = None


class Timed(Generic[Item]):
    """An iterable whose batches are waited for with a clock running; `seconds` is the sum, reset by `take`."""

    def __init__(self, batches: Iterable[Item]) -> None:
        self.batches = batches
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Item]:
        start = time.perf_counter()
        for batch in self.batches:
            self.seconds += time.perf_counter() - start
            yield batch
            start = time.perf_counter()
        self.seconds += time.perf_counter() - start

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def take(self) -> float:
        """The seconds since the last call."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_since_start() -> float:
    """Since this process was started, its imports included."""
    ticks = float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - ticks / os.sysconf("SC_CLK_TCK")


def contend(train: Callable[[Work], Outcome]) -> None:
    """The main function of a contender: reads the work, does it, writes its outcome."""
    work: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    work |= {part: tuple(work[part]) for part in ("train", "validation")}
    outcome = train(Work(**work))
    device = Work(**work).torch_device
    if device.type == "cuda":
        outcome.gpu_gib = torch.cuda.max_memory_allocated(device) / 2**30
    Path(sys.argv[2]).write_text(json.dumps(asdict(outcome)))
