"""torch.compile: when it pays, and a network that is compiled for batches of one size."""

import importlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from segcore.errors import UserError

Network = Callable[[Tensor], Tensor]

BACKWARD = 3  # forward and backward pass together, in forward passes


@dataclass(frozen=True)
class Saving:
    """What compiling gives on a kind of device: `share` of a training's time, for `seconds` once.

    flops: operations a second that a training makes, which turn the settings into time: no clock decides, so that
    equal settings always lead to the same arithmetic.
    """

    share: float
    seconds: float
    flops: float


# Measured (docs/performance.md): on a CPU it gains nothing that can be relied on.  No GPU has been measured, so there,
# too, `auto` compiles nothing.
SAVINGS = {"cpu": Saving(share=0.0, seconds=60.0, flops=1e11)}


def pays(gflops: float, num_images: int, epochs: int, device: torch.device) -> bool:
    """Whether compiling saves more time over a training than it costs.  gflops: of an image's forward pass, 10^9."""
    saving = SAVINGS.get(device.type)
    if saving is None:
        return False
    seconds = BACKWARD * gflops * 1e9 * num_images * epochs / saving.flops
    return saving.share * seconds > saving.seconds


def find_compiler() -> str | None:
    """The C++ compiler that torch.compile would call; None where there is none."""
    return next(filter(None, map(shutil.which, [os.environ.get("CXX") or "g++", "clang++"])), None)


def require_compiler() -> None:
    """Raises UserError where torch.compile cannot work."""
    if find_compiler() is None:
        raise UserError(
            "trainer.compile = true needs a C++ compiler, and there is no g++; install one, or set trainer.compile=auto"
        )


def compile_network(model: nn.Module, batch_size: int) -> Network:
    """The network compiled for batches of one size; others, such as an epoch's last, take the plain one.

    Both have the same weights.
    """
    own_folder()
    compiled: Network = torch.compile(model, dynamic=False)

    def forward(images_N3HW: Tensor) -> Tensor:
        return compiled(images_N3HW) if len(images_N3HW) == batch_size else model(images_N3HW)

    return forward


@cache
def own_folder() -> tempfile.TemporaryDirectory[str]:
    """Have this process compile in a new folder that nobody else can write to; `clear_compiled` removes it.

    PyTorch's own place has the same name for all its processes, under /tmp, and what lies there is executed and
    unpickled.
    """
    folder = tempfile.TemporaryDirectory(prefix="segcore-compiled-", ignore_cleanup_errors=True)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder.name
    # Of compilers' headers PyTorch has a second such place, which cannot be moved.
    settings: Any = importlib.import_module("torch._inductor.config")
    settings.cpp_cache_precompile_headers = False
    return folder


def clear_compiled() -> None:
    """Remove what this process has compiled, if anything; no compiled network is called again."""
    if own_folder.cache_info().currsize:
        own_folder().cleanup()
