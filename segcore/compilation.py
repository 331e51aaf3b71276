"""torch.compile: when it pays, and a network that is compiled for batches of one size."""

import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor, nn

from segcore.errors import UserError

Network = Callable[[Tensor], Tensor]

# On CUDA: seconds that compiling takes, the share of a training that it saves, and the operations a second that a
# training makes.  Assumed: no GPU has been measured.  They are the same for every GPU, so that the same settings always
# lead to the same arithmetic.  On a CPU it does not pay (docs/performance.md).
COST_SECONDS = 90.0
SAVING = 0.1
FLOPS_A_SECOND = 2e13
BACKWARD = 3  # forward and backward pass together, in forward passes


def pays(gflops: float, num_images: int, epochs: int, device: torch.device) -> bool:
    """Whether compiling saves more time over a training than it costs.  gflops: of an image's forward pass, 10^9."""
    seconds = BACKWARD * gflops * 1e9 * num_images * epochs / FLOPS_A_SECOND
    return device.type == "cuda" and SAVING * seconds > COST_SECONDS


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
    compiled: Network = torch.compile(model, dynamic=False)

    def forward(images_N3HW: Tensor) -> Tensor:
        return compiled(images_N3HW) if len(images_N3HW) == batch_size else model(images_N3HW)

    return forward
