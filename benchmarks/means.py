"""What each means of the suite's training step gives: the step as it is, without one of them, and without any.

    python -m benchmarks.means --model resnet34_unet --image-size 256 --batch 8

On random images, each variant in a process of its own, in turns; after two steps that warm up.  In float32 on a CPU a
second table tells what memory layouts give to the forward pass alone, on batches of the evaluation.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.command_line import at_least, measuring
from benchmarks.contest import synchronise
from benchmarks.machine import describe_machine
from benchmarks.settings import make_config
from segcore.build import has_native_bfloat16, on_device, resolve_evaluation_batch
from segcore.execution.allocator import KEEP_MEMORY
from segcore.execution.variables import SPINS
from segcore.losses import BCEDiceLoss
from segcore.models import MODELS

LAYOUT, FUSED, LOSS, HALF = "channels last", "fused optimizer", "loss read late", "bfloat16"
# Environment variables; a process has those that are among its means, whatever its parent has.
ALLOCATOR, SPINNING = "allocator", "short spinning"
VARIABLES = {ALLOCATOR: ("GLIBC_TUNABLES", KEEP_MEMORY), SPINNING: ("GOMP_SPINCOUNT", SPINS)}
# The forward pass: whether weights and images are channels last.
FORWARD = {
    "weights and images in planes": (False, False),
    "weights in planes, images channels last: validation in a training": (False, True),
    "both channels last: the test": (True, True),
}
WARMING_UP = 2


def available_means(device: torch.device) -> list[str]:
    """The means that the suite uses on this machine; autocast on a GPU is the report's own as well."""
    if device.type == "cuda":
        return [FUSED, LOSS, LAYOUT]
    return [FUSED, LOSS, ALLOCATOR, SPINNING, *([HALF, LAYOUT] if has_native_bfloat16() else [])]


def layout_of(channels_last: bool) -> torch.memory_format:
    """The memory layout."""
    return torch.channels_last if channels_last else torch.contiguous_format


def make_network(name: str, device: str, channels_last: bool) -> nn.Module:
    """The network with random weights."""
    return on_device(MODELS[name](in_channels=3, out_channels=1), torch.device(device), layout_of(channels_last))


def repeat(step: Callable[[], object], steps: int, device: str) -> float:
    """Seconds of a step, after some that warm up."""
    for number in range(WARMING_UP + steps):
        if number == WARMING_UP:
            synchronise(torch.device(device))
            start = time.perf_counter()
        step()
    synchronise(torch.device(device))
    return (time.perf_counter() - start) / steps


def time_steps(means: Sequence[str], network: str, image_size: int, batch: int, steps: int, device: str) -> float:
    """Seconds of a training step with these means, in this process."""
    torch.manual_seed(0)
    on_gpu = device == "cuda"
    model = make_network(network, device, LAYOUT in means)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True if FUSED in means else None)
    images = torch.rand(batch, 3, image_size, image_size, device=device)
    images = images.contiguous(memory_format=layout_of(LAYOUT in means))
    masks = (torch.rand(batch, 1, image_size, image_size, device=device) > 0.5).float()
    scaler = torch.amp.GradScaler(device, enabled=on_gpu)
    loss_function = BCEDiceLoss()
    half = torch.float16 if on_gpu else torch.bfloat16

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, half, enabled=on_gpu or HALF in means):
            logits = model(images)
        loss = loss_function(logits, masks)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if LOSS not in means:
            loss.item()

    return repeat(step, steps, device)


def time_forward(name: str, network: str, image_size: int, batch: int, steps: int, device: str) -> float:
    """Seconds of a forward pass in one of FORWARD's layouts, in this process."""
    torch.manual_seed(0)
    weights_last, images_last = FORWARD[name]
    model = make_network(network, device, weights_last).eval()
    images = torch.rand(batch, 3, image_size, image_size).contiguous(memory_format=layout_of(images_last))
    with torch.inference_mode():
        return repeat(lambda: model(images), steps, device)


def measure(kind: str, means: Sequence[str], arguments: Sequence[object]) -> float:
    """One of TIMINGS in a process of its own, with the environment variables that are among the means."""
    set_by_us = {name for name, _ in VARIABLES.values()}
    environment = {name: value for name, value in os.environ.items() if name not in set_by_us}
    environment |= dict(VARIABLES[one] for one in means if one in VARIABLES)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "benchmarks.means", "--inside", json.dumps([kind, *arguments])],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout)


TIMINGS: dict[str, Callable[..., float]] = {"step": time_steps, "forward": time_forward}


def compare(names: Sequence[str], measure_one: Callable[[str], float], repeats: int, title: str) -> Table:
    """Let the variants take turns; medians, and of the ratios to the first in each turn."""
    turns = [{name: measure_one(name) for name in names} for _ in range(repeats)]
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for column in ("", "s", "times the first"):
        table.add_column(column, justify="right" if column else "left")
    for name in names:
        seconds = statistics.median(turn[name] for turn in turns)
        ratio = statistics.median(turn[name] / turn[names[0]] for turn in turns)
        table.add_row(name, f"{seconds:.3f}", f"{ratio:.2f}")
    return table


def compare_steps(asked: argparse.Namespace, means: Sequence[str]) -> Table:
    """A training step with all means, without each, and without any."""
    variants: dict[str, list[str]] = {"all means": list(means)}
    variants |= {f"without {one}": [other for other in means if other != one] for one in means}
    if LAYOUT not in means:
        variants[f"with {LAYOUT}"] = [*means, LAYOUT]
    variants["none"] = []
    settings = [asked.model, asked.image_size, asked.batch, asked.steps, asked.device]
    title = f"a training step of {asked.model}, {asked.image_size} x {asked.image_size}, batch {asked.batch}"
    return compare(
        list(variants), lambda name: measure("step", variants[name], [variants[name], *settings]), asked.repeats, title
    )


def compare_forward(asked: argparse.Namespace, means: Sequence[str]) -> Table:
    """The forward pass alone in float32, in inference mode, in three memory layouts."""
    config = make_config({"data.image_size": asked.image_size, "data.batch_size": asked.batch})
    batch = resolve_evaluation_batch(config, torch.device(asked.device))
    settings = [asked.model, asked.image_size, batch, asked.steps, asked.device]
    title = f"a forward pass of {asked.model}, {asked.image_size} x {asked.image_size}, batch {batch}"
    return compare(list(FORWARD), lambda name: measure("forward", means, [name, *settings]), asked.repeats, title)


def main() -> None:
    """Let the variants take turns, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.means", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet34_unet", choices=tuple(MODELS))
    parser.add_argument("--image-size", type=at_least(32), default=256)
    parser.add_argument("--batch", type=at_least(2), default=8)
    parser.add_argument("--steps", type=at_least(1), default=10)
    parser.add_argument("--repeats", type=at_least(1), default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--inside", type=json.loads, help=argparse.SUPPRESS)
    asked, console = parser.parse_args(), Console()
    if asked.inside:
        kind, *arguments = asked.inside
        print(TIMINGS[kind](*arguments))
        return
    means = available_means(torch.device(asked.device))
    with measuring(console):
        console.print(compare_steps(asked, means))
        if asked.device == "cpu" and not has_native_bfloat16():
            console.print(compare_forward(asked, means))
    console.print(describe_machine(torch.device(asked.device)))


if __name__ == "__main__":
    main()
