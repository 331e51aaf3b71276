"""An epoch's data without any training: the report's recipe against the suite, from warm caches.

    python -m benchmarks.data_way --image-size 256 --batch 8

The recipe opens, decodes, resizes and augments every image in its loading processes; the suite gathers decoded pixels
and augments them in batches on the device.  Both take turns in one process; medians of several epochs.  Beside it the
parts of the suite's way: reading rows, the grid, the resampling, the conversion to a batch; and decoding into the
cache.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.command_line import add_pictures, at_least, measuring
from benchmarks.contenders import report_recipe, suite
from benchmarks.contest import Work, synchronise
from benchmarks.machine import describe_machine
from benchmarks.pictures import find_pictures
from segcore import build
from segcore.data import loader as loading
from segcore.data.augment import resample, turning_grid
from segcore.execution.variables import start_anew


def exhaust(batches: Iterable[Any], device: torch.device) -> None:
    """Take all batches, as they would arrive at a network on the device."""
    for batch in batches:
        if isinstance(batch, (list, tuple)):
            for tensor in batch:
                tensor.to(device)
    synchronise(device)


def seconds_of(work: Callable[[], object]) -> float:
    """One execution."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def finish(step: Callable[[], object], device: torch.device) -> None:
    """A step, until the device has done it."""
    step()
    synchronise(device)


def time_parts(work: Work, repeats: int) -> dict[str, float]:
    """Milliseconds an image of each step of the suite's way, on one batch."""
    config, device = suite.configure(work), work.torch_device
    part = suite.load(work, config).train
    pixels = loading._Pixels(part, device)
    rows_N = torch.randperm(len(part), device=pixels.device)[: work.batch_size]
    angles_N = torch.linspace(-15, 15, len(rows_N), dtype=torch.float64, device=device)
    flips_N = torch.arange(len(rows_N), device=device) % 2 == 0
    size = (work.image_size, work.image_size)
    words_NHW = next(iter(pixels.stream([rows_N])))
    grid_NHW2 = turning_grid(angles_N, flips_N, *size)
    steps: dict[str, Callable[[], object]] = {
        "read the rows": lambda: next(iter(pixels.stream([rows_N]))),
        "where pixels come from": lambda: turning_grid(angles_N, flips_N, *size),
        "resample": lambda: resample(words_NHW, grid_NHW2),
        "to a batch": lambda: loading._to_batch(words_NHW, "pet", build.training_layout(config, device)),
    }

    def timed(step: Callable[[], object]) -> float:
        finish(step, device)
        return 1e3 * statistics.median(seconds_of(lambda: finish(step, device)) for _ in range(repeats))

    return {name: timed(step) / len(rows_N) for name, step in steps.items()}


def main() -> None:
    """Print images a second of both ways, their ratio, and the parts; in the environment of a worker."""
    start_anew()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_way", description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=at_least(32), default=256)
    parser.add_argument("--batch", type=at_least(2), default=8)
    parser.add_argument("--images", type=at_least(2), default=240)
    parser.add_argument("--repeats", type=at_least(1), default=5)
    parser.add_argument("--workers", type=at_least(0), default=min(8, len(os.sched_getaffinity(0))))
    add_pictures(parser)
    parser.add_argument("--device", default="auto")
    arguments, console = parser.parse_args(), Console()
    with measuring(console), tempfile.TemporaryDirectory() as cache:
        root, names = find_pictures(arguments.data, Path(cache))
        names = names[: arguments.images]
        work = Work(
            model="resnet34_unet",
            root=str(root),
            train=names,
            validation=names[:1],
            image_size=arguments.image_size,
            batch_size=arguments.batch,
            epochs=1,
            workers=arguments.workers,
            cache=cache,
            device=arguments.device,
        )
        device, config = work.torch_device, suite.configure(work)
        decoding = seconds_of(lambda: suite.load(work, config))
        recipe = report_recipe.make_loader(work, work.train, augment=True)
        ours = build.build_train_loader(config, suite.load(work, config).train, device)
        seconds: dict[str, list[float]] = {"recipe": [], "suite": []}
        for repeat in range(arguments.repeats + 1):
            ways: dict[str, Iterable[Any]] = {"recipe": recipe, "suite": ours.epoch(repeat)}
            for name, batches in ways.items():
                seconds[name].append(seconds_of(partial(exhaust, batches, device)))
        rates = {name: len(names) / statistics.median(times[1:]) for name, times in seconds.items()}
        ratio = statistics.median(a / b for a, b in zip(seconds["recipe"][1:], seconds["suite"][1:], strict=True))
        parts = time_parts(work, 20 * arguments.repeats)
    console.print(
        f"data way at {work.image_size} x {work.image_size}, batch {work.batch_size}, {len(names)} images: recipe "
        f"{rates['recipe']:.0f} images/s ({work.workers} processes), suite {rates['suite']:.0f}: {ratio:.1f} times"
    )
    console.print(f"decoding into the cache, once: {1e3 * decoding / len(names):.2f} ms an image")
    for name, milliseconds in parts.items():
        console.print(f"  {name}: {milliseconds:.3f} ms an image")
    console.print(describe_machine(device))


if __name__ == "__main__":
    main()
