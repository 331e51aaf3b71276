"""Which CUDA device a run gets, so that none is shared by accident."""

import fcntl
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from segcore import build
from segcore.config import RunConfig

# For all calls on this machine, whoever makes them and wherever.
LOCKS = Path(tempfile.gettempdir()) / "segmentation-ablations"


@dataclass(frozen=True)
class Place:
    """Where a run trains.

    device: as CUDA_VISIBLE_DEVICES names it; None for the CPU.  lock: a descriptor that keeps other calls away from it.
    environment: what makes it the only device that the run sees.
    """

    device: str | None = None
    lock: int | None = None
    environment: tuple[tuple[str, str], ...] = ()


class Devices:
    """Gives each run a device, the least used first.

    A device is locked while it has runs of this call, so that another call takes another one, or waits.  Runs of one
    call share a device only where there are more `jobs` than devices, which is to ask for it; CPU runs always share.
    say: tells the user, once, that a device is waited for.
    """

    def __init__(self, jobs: int, say: Callable[[str], None]) -> None:
        self.jobs = jobs
        self.say = say
        self.names = visible_devices()
        self.locks: dict[str, int] = {}
        self.numbers: dict[str, int] = dict.fromkeys(self.names, 0)
        self.has_said = False

    def take(self, config: RunConfig) -> Place | None:
        """A place for a run; None where all that suit it are taken.  Raises UserError where this machine has none."""
        device = build.resolve_device(config)
        if device.type != "cuda":
            return Place()
        suitable = self.names if device.index is None else [self.names[device.index]]
        most = math.ceil(self.jobs / len(suitable))
        for name in sorted(suitable, key=self.numbers.__getitem__):
            if self.numbers[name] < most and self.lock(name):
                self.numbers[name] += 1
                # A device that the settings name by its number is found by that.
                environment = (("CUDA_VISIBLE_DEVICES", name),) if device.index is None else ()
                return Place(name, self.locks[name], environment)
        if not any(self.numbers.values()) and not self.has_said:
            self.has_said = True
            self.say(f"waiting for a GPU: another call of runner.py has {', '.join(suitable)}")
        return None

    def lock(self, name: str) -> bool:
        """Whether the device is this call's, now or already."""
        if name not in self.locks:
            descriptor = open_lock(LOCKS / f"cuda-{name}")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            self.locks[name] = descriptor
        return True

    def give_back(self, place: Place) -> None:
        """A run has left its place."""
        if place.device is not None:
            self.numbers[place.device] -= 1
            if not self.numbers[place.device]:
                os.close(self.locks.pop(place.device))


def visible_devices() -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count()
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [name.strip() for name in listed.split(",")][:count] if listed else [str(index) for index in range(count)]


def open_lock(path: Path) -> int:
    """A descriptor of a file to lock, which is made where it is missing; it may be another user's."""
    if not path.parent.is_dir():
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o1777)  # everybody may add to it
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        return os.open(path, os.O_RDONLY)
