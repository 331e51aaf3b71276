"""Which CUDA device a run gets, so that none is shared by accident."""

import contextlib
import fcntl
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segcore import build
from segcore.config import RunConfig
from segcore.errors import UserError

# One place for all calls on this machine, whatever their TMPDIR: jobs of a scheduler may have one each.
LOCKS = Path("/tmp/segmentation-ablations")  # noqa: S108  # locked, never written to: nothing to be tricked into


@dataclass(frozen=True)
class Place:
    """Where a run trains.

    device: as `visible_devices` names it; None for the CPU.  lock: a descriptor that keeps other calls away from it.
    environment: what makes it the device that the run finds.
    """

    device: str | None = None
    lock: int | None = None
    environment: tuple[tuple[str, str], ...] = ()


class Devices:
    """Gives each run a device, the least used first.

    A device is locked while it has runs of this call, so that another call takes another one, or waits.  Runs of one
    call share a device only where that is asked for: by more `jobs` than devices, or by `execution.gpus_per_run`; CPU
    runs always share.
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
        """A place for a run; None where all that suit it are taken.

        Raises UserError where this machine has none, or where this user may not lock it.
        """
        device = build.resolve_device(config)
        if device.type != "cuda":
            return Place()
        suitable = self.names if device.index is None else [self.names[device.index]]
        most = max(math.ceil(self.jobs / len(suitable)), math.floor(1 / config.execution.gpus_per_run))
        for name in sorted(suitable, key=self.numbers.__getitem__):
            if self.numbers[name] < most and self.lock(name):
                self.numbers[name] += 1
                # A device that the settings name by its number has to be found at that number.
                visible = name if device.index is None else ",".join(self.names)
                return Place(name, self.locks[name], (("CUDA_VISIBLE_DEVICES", visible),))
        if not any(self.numbers.values()) and not self.has_said:
            self.has_said = True
            self.say(f"waiting for a GPU: another call of runner.py has {', '.join(suitable)}")
        return None

    def lock(self, name: str) -> bool:
        """Whether the device is this call's, now or already."""
        if name not in self.locks:
            descriptor = open_lock(LOCKS / f"cuda-{name.replace('/', '-')}")
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
    """The CUDA devices that this process may use, by UUID, in the order of CUDA_VISIBLE_DEVICES.

    A number means another GPU in another job or another order, so that neither a lock nor a worker goes by it.  It is
    read as nvidia-smi counts, which is CUDA's order, too, where CUDA_DEVICE_ORDER is PCI_BUS_ID or all GPUs are alike.
    A device that NVML does not know keeps its name.
    """
    count = torch.cuda.device_count()
    listed = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    gpus = accessible_gpus() if count else {}
    return [identify(name.strip(), gpus) for name in listed.split(",")[:count]]


def identify(name: str, gpus: Mapping[str, str]) -> str:
    """The UUID of what CUDA_VISIBLE_DEVICES calls by a number, a UUID or the beginning of one; else the name itself."""
    if name.isdecimal():
        matches = list(gpus.values())[int(name) :][:1]
    else:
        matches = [usable for uuid, usable in gpus.items() if uuid.startswith(name)]
    return matches[0] if len(matches) == 1 else name


def accessible_gpus() -> dict[str, str]:
    """UUIDs of the GPUs that this process may use, and of what CUDA finds by each; none where NVML does not answer.

    They are in the order of nvidia-smi, but those in MIG mode come last, as CUDA counts.  CUDA is not touched.
    """
    # Here, because nothing on a CPU needs it.
    import pynvml  # type: ignore[import-untyped]

    gpus = {}
    try:
        pynvml.nvmlInit()
        try:
            for index in range(pynvml.nvmlDeviceGetCount()):
                # Those of other jobs are counted here, but not by CUDA.
                with contextlib.suppress(pynvml.NVMLError_NoPermission):
                    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                    gpus[pynvml.nvmlDeviceGetUUID(handle)] = usable_uuid(pynvml, handle)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return {}
    return dict(sorted(gpus.items(), key=lambda item: item[0] != item[1]))


def usable_uuid(pynvml: Any, handle: Any) -> str:
    """The GPU's UUID; in MIG mode that of its first slice, which is what CUDA gives who asks for the GPU."""
    with contextlib.suppress(pynvml.NVMLError):  # what a GPU without MIG answers
        is_sliced, _ = pynvml.nvmlDeviceGetMigMode(handle)
        for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle) if is_sliced else 0):
            with contextlib.suppress(pynvml.NVMLError_NotFound):
                return str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)))
    return str(pynvml.nvmlDeviceGetUUID(handle))


def open_lock(path: Path) -> int:
    """A descriptor of a file to lock, which may be another user's; where it is missing, it is made for all users.

    Raises UserError where this user may not.
    """
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir()
            path.parent.chmod(0o1777)  # after the fact, because mkdir heeds the umask
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o666)
            os.fchmod(descriptor, 0o666)
            return descriptor
        # Without O_CREAT, which Linux may refuse for another user's file in such a folder.
        return os.open(path, os.O_RDONLY)
    except PermissionError as error:
        raise UserError(
            f"{path}: {error.strerror}; calls of all users lock a GPU by this file. Its owner, or root, can mend it: "
            f"chmod 1777 {path.parent}; chmod 666 {path.parent}/*"
        ) from None
