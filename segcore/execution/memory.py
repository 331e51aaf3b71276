"""How much memory a run takes, counted before it runs, and how much the machine has."""

import weakref
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segcore.config import RunConfig
from segcore.losses import LOSSES
from segcore.models import MODELS, count_parameters

GIB = 2**30
# On a CPU the process is counted: interpreter and libraries, and for the tensors the convolutions' own copies and
# buffers and what the allocator keeps. Fitted to measured runs, see `estimate_memory_gib`.
PROCESS_GIB = 0.9
CPU_OVERHEAD = 1.6
# The same where the allocator keeps nothing.
CPU_OVERHEAD_GIVEN_BACK = 1.1
# On a GPU the allocated bytes are counted, and the convolutions' workspace comes on top.
GPU_OVERHEAD = 1.15
# A half-precision step is counted on a network in half precision; autocast keeps float32 weights and gradients too,
# and a copy of the weights.
AUTOCAST_BYTES = 6
# Float32 numbers that an optimizer keeps for each parameter, in place: its fused step makes no others.
OPTIMIZER_STATES = {"adam": 2, "adamw": 2, "sgd": 1}


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all tensors that live while it is entered, and the most that lived at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self.alive: set[int] = set()

    def add(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage, once, until it is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.alive:
            self.alive.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.forget, key, size)

    def forget(self, key: int, size: int) -> None:
        """A storage was freed."""
        self.alive.discard(key)
        self.now -= size

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return result


@lru_cache(maxsize=64)
def count_step_bytes(model_name: str, image_size: int, batch_size: int, loss: str, dtype: torch.dtype) -> int:
    """The most bytes that live at once in a training step, counted on meta tensors, which hold nothing.

    Weights, gradients, what forward keeps for backward, and what both make on the way; not the optimizer's states.
    """
    with torch.device("meta"):
        model = MODELS[model_name]().to(dtype)
        live = LiveTensors()
        for tensor in (*model.parameters(), *model.buffers()):
            live.add(tensor)
        with live:
            images = torch.empty(batch_size, 3, image_size, image_size, dtype=dtype)
            masks = torch.empty(batch_size, 1, image_size, image_size, dtype=dtype)
            LOSSES[loss]()(model(images), masks, None).backward()
        return live.peak


def estimate_memory_gib(config: RunConfig, precision: str, device: torch.device, *, keeps: bool = True) -> float:
    """The most memory that a training holds, GiB: allocated on a GPU, or of the whole process on a CPU.

    keeps: whether the CPU's allocator keeps what was freed, see `segcore.execution.allocator`.

    Against measured peaks in float32 on two CPU cores, estimated / measured: ResNet34-U-Net at 64 x 64, batch 128,
    2.5 / 2.2 to 2.7 (nine runs); batch 16, 1.5 / 1.7 to 1.8 (six runs); at 128 x 128, batch 16, 1.9 / 1.8; U-Net at
    64 x 64, batch 16, 2.0 / 2.0; batch 128, 6.0 / 6.0.  So within 15 % there, on which it was fitted.  The estimates
    for GPUs and half precision have been compared with nothing yet.
    """
    half = precision != "float32"
    size = (config.data.image_size, config.data.batch_size)
    counted = count_step_bytes(
        config.model.name, *size, config.loss.name, torch.bfloat16 if half else torch.float32
    )  # fmt: skip
    per_parameter = 4 * OPTIMIZER_STATES[config.optimizer.name] + AUTOCAST_BYTES * half
    counted += per_parameter * count_parameters(config.model.name)
    if device.type == "cuda":
        return GPU_OVERHEAD * counted / GIB
    return PROCESS_GIB + (CPU_OVERHEAD if keeps else CPU_OVERHEAD_GIVEN_BACK) * counted / GIB


def free_memory_gib(device: torch.device) -> float:
    """Memory that a new process could take: of the GPU, or of the machine and the container it is."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / GIB
    return min(float(psutil.virtual_memory().available), container_room()) / GIB


def container_room(group: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that the container's limit leaves; infinite without one.

    Contents of files that nobody has used of late count as free, as they do for the whole machine.
    """
    try:
        limit, used, details = (
            (group / name).read_text().strip() for name in ("memory.max", "memory.current", "memory.stat")
        )
    except OSError:
        return float("inf")
    files = dict(line.split() for line in details.splitlines()).get("inactive_file", "0")
    return float("inf") if limit == "max" else float(limit) - float(used) + float(files)
