"""A training step with and without torch.compile: `python -m benchmarks.compilation --image-size 256 --batch 8`.

Prints the seconds of the first step, compilation included, the median of those after it, and the first losses, which
have to agree.  Random images; the allocator's settings of a worker have to be in the environment for its speed.
"""

import argparse
import statistics
import time

import torch
from torch import nn

from benchmarks.contest import synchronise
from segcore.compilation import compile_network
from segcore.losses import BCEDiceLoss
from segcore.models import MODELS

STEPS = 5


def time_steps(asked: argparse.Namespace, device: torch.device, *, compiled: bool) -> None:
    """Train for a few steps on one batch, and print their times and losses."""
    torch.manual_seed(0)
    layout = torch.contiguous_format if asked.planes else torch.channels_last
    size = (asked.image_size, asked.image_size)
    model: nn.Module = MODELS[asked.model](in_channels=3, out_channels=1)
    model = model.to(device, memory_format=layout)  # type: ignore[call-overload]
    forward = compile_network(model, asked.batch) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    images = torch.rand(asked.batch, 3, *size, device=device).contiguous(memory_format=layout)
    masks = (torch.rand(asked.batch, 1, *size, device=device) > 0.5).float()
    loss_function, seconds, losses = BCEDiceLoss(), [], []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = loss_function(forward(images), masks)
        loss.backward()
        optimizer.step()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
        losses.append(f"{loss.item():.5f}")
    kind = "compiled" if compiled else "plain"
    print(f"{kind}: first {seconds[0]:.2f} s, then {statistics.median(seconds[1:]):.3f} s a step; losses {losses[:4]}")


def main() -> None:
    """Time both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compilation", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet34_unet", choices=tuple(MODELS))
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--planes", action="store_true", help="PyTorch's default memory layout, not channels last")
    asked = parser.parse_args()
    for compiled in (False, True):
        time_steps(asked, torch.device(asked.device), compiled=compiled)


if __name__ == "__main__":
    main()
