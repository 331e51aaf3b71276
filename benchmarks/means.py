"""What each means of the suite's training step gives: the step as it is, without one of them, and without any.

    python -m benchmarks.means --model resnet34_unet --image-size 256 --batch 8

On random images, each variant in a process of its own, in turns; after two steps that warm up.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.contest import synchronise
from benchmarks.machine import describe_machine
from segcore.build import has_native_bfloat16
from segcore.execution.allocator import KEEP_MEMORY
from segcore.losses import BCEDiceLoss
from segcore.models import MODELS

LAYOUT, FUSED, ALLOCATOR, LOSS, HALF = "channels last", "fused optimizer", "allocator", "loss read late", "bfloat16"
WARMING_UP = 2


def available_means(device: torch.device) -> list[str]:
    """The means that the suite uses on this machine; autocast on a GPU is the report's own as well."""
    if device.type == "cuda":
        return [FUSED, LOSS, LAYOUT]
    return [FUSED, LOSS, ALLOCATOR, *([HALF, LAYOUT] if has_native_bfloat16() else [])]


def time_steps(means: Sequence[str], network: str, image_size: int, batch: int, steps: int, device: str) -> float:
    """Seconds of a step with these means, in this process."""
    torch.manual_seed(0)
    on_gpu = device == "cuda"
    layout = torch.channels_last if LAYOUT in means else torch.contiguous_format
    model: nn.Module = MODELS[network](in_channels=3, out_channels=1)
    model = model.to(device, memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True if FUSED in means else None)
    images = torch.rand(batch, 3, image_size, image_size, device=device).contiguous(memory_format=layout)
    masks = (torch.rand(batch, 1, image_size, image_size, device=device) > 0.5).float()
    scaler = torch.amp.GradScaler(device, enabled=on_gpu)
    loss_function = BCEDiceLoss()
    half = torch.float16 if on_gpu else torch.bfloat16
    for step in range(WARMING_UP + steps):
        if step == WARMING_UP:
            synchronise(torch.device(device))
            start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device, half, enabled=on_gpu or HALF in means):
            logits = model(images)
        loss = loss_function(logits, masks)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if LOSS not in means:
            loss.item()
    synchronise(torch.device(device))
    return (time.perf_counter() - start) / steps


def measure(means: Sequence[str], asked: argparse.Namespace) -> float:
    """The same in a process of its own, with the allocator's settings or without."""
    settings = [asked.model, asked.image_size, asked.batch, asked.steps, asked.device]
    environment = dict(os.environ) | {"GLIBC_TUNABLES": KEEP_MEMORY if ALLOCATOR in means else ""}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "benchmarks.means", "--inside", json.dumps([list(means), *settings])],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout)


def main() -> None:
    """Let the variants take turns, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.means", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet34_unet", choices=tuple(MODELS))
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--inside", type=json.loads, help=argparse.SUPPRESS)
    asked, console = parser.parse_args(), Console()
    if asked.inside:
        print(time_steps(*asked.inside))
        return
    means = available_means(torch.device(asked.device))
    variants: dict[str, list[str]] = {"all": means}
    variants |= {f"without {one}": [other for other in means if other != one] for one in means}
    if LAYOUT not in means:
        variants[f"with {LAYOUT}"] = [*means, LAYOUT]
    variants["none"] = []
    turns = [{name: measure(used, asked) for name, used in variants.items()} for _ in range(asked.repeats)]
    table = Table(title=f"a step of {asked.model}, {asked.image_size}, batch {asked.batch}", box=box.SIMPLE_HEAD)
    for column in ("means", "s", "times all"):
        table.add_column(column, justify="left" if column == "means" else "right")
    for name in variants:
        seconds = statistics.median(turn[name] for turn in turns)
        ratio = statistics.median(turn[name] / turn["all"] for turn in turns)
        table.add_row(name, f"{seconds:.3f}", f"{ratio:.2f}")
    console.print(table)
    console.print(describe_machine(torch.device(asked.device)))


if __name__ == "__main__":
    main()
