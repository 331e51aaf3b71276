"""How time and memory grow: with the image size, the number of images, the batch size, and the number of runs.

    python -m benchmarks.growth --figure growth.png

The suite trains alone, a process a measurement, one epoch after one that warms up; runs are calls of `runner.py`.
Printed are seconds of an epoch, or of the call, and the most memory held, and for each series the exponent of a power
law through its points: 1 where the cost grows as the work does.  The image size is counted in pixels.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.contest import Work
from benchmarks.machine import describe_machine
from benchmarks.memory import PeakMemory
from benchmarks.overhead import Arena
from benchmarks.pictures import find_pictures
from benchmarks.training import take_turn
from segcore.execution.variables import worker_environment

RUNS = "runs in a call"
SETTINGS = ("data.synthetic_images=60", "data.image_size=32", "trainer.epochs=5")


@dataclass(frozen=True)
class Series:
    """Works that differ in one thing.

    xs: what differs, as the axis shows it.  work_of: how much work each is, in relative terms.
    """

    name: str
    xs: tuple[int, ...]
    work_of: Callable[[int], float]
    change: Callable[[Work, int], Work]


@dataclass(frozen=True)
class Point:
    """One measurement: seconds of an epoch or a call, GiB held at most."""

    x: int
    seconds: float
    memory_gib: float


def take_images(work: Work, number: int) -> Work:
    """The same with so many training images."""
    return replace(work, train=work.train[:number])


def make_series(sizes: Sequence[int], numbers: Sequence[int], batches: Sequence[int]) -> list[Series]:
    """The three series; each changes what the others hold fixed."""
    return [
        Series("image size", tuple(sizes), lambda size: size**2, lambda work, size: replace(work, image_size=size)),
        Series("training images", tuple(numbers), float, take_images),
        Series("batch size", tuple(batches), lambda size: 1.0, lambda work, size: replace(work, batch_size=size)),
    ]


def measure(work: Work, x: int) -> Point:
    """One training."""
    turn = take_turn("suite", work)
    return Point(x, turn.outcome.training[-1], turn.memory_gib)


def measure_runs(numbers: Sequence[int]) -> list[Point]:
    """Calls that train so many small runs one after the other."""
    points = []
    with tempfile.TemporaryDirectory() as place:
        arena = Arena(Path(place), SETTINGS)
        arena.call(1)  # makes database and data
        for number in numbers:
            start = time.perf_counter()
            with Path(os.devnull).open("w") as output:
                call = subprocess.Popen(  # noqa: S603
                    [sys.executable, *arena.command(number)],
                    cwd=place,
                    env=worker_environment() | {"MLFLOW_TRACKING_URI": ""},
                    stdout=output,
                    text=True,
                )
                with PeakMemory(call) as memory:
                    call.wait()
            points.append(Point(number, time.perf_counter() - start, memory.peak / 2**30))
    return points


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of a power law through the points, least squares of logarithms; nan where xs are all the same."""
    if len(set(xs)) < 2:
        return math.nan
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def show(name: str, points: Sequence[Point], work: Sequence[float]) -> Table:
    """A series as a table, with the exponent of time against the work."""
    power = exponent(work, [point.seconds for point in points])
    title = name if math.isnan(power) else f"{name}: time grows with the work to the power of {power:.2f}"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for column in (name, "s", "memory, GiB"):
        table.add_column(column, justify="right")
    for point in points:
        table.add_row(f"{point.x:,}", f"{point.seconds:.2f}", f"{point.memory_gib:.2f}")
    return table


def draw(measured: dict[str, list[Point]], path: Path) -> None:
    """Time and memory against each thing, on logarithmic axes."""
    figure, all_axes = plt.subplots(2, len(measured), figsize=(3.2 * len(measured), 4.6), layout="constrained")
    for column, (name, points) in zip(all_axes.T, measured.items(), strict=True):
        label = "call (s)" if name == RUNS else "epoch (s)"
        column[0].plot([point.x for point in points], [point.seconds for point in points], marker="o")
        column[0].set(xscale="log", yscale="log", ylabel=label)
        column[1].plot([point.x for point in points], [point.memory_gib for point in points], marker="o")
        column[1].set(xscale="log", xlabel=name, ylabel="memory (GiB)", ylim=(0, None))
        for axes in column:
            axes.set_xticks([point.x for point in points], [f"{point.x:,}" for point in points], rotation=60)
            axes.minorticks_off()
            axes.grid(linewidth=0.3)
    figure.savefig(path, dpi=150)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet34_unet", choices=("resnet34_unet", "unet"))
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 128, 192, 256, 384, 512])
    parser.add_argument("--images", type=int, nargs="*", default=[300, 600, 1200, 2400, 4800, 7341])
    parser.add_argument("--batches", type=int, nargs="*", default=[4, 8, 16, 32, 64])
    parser.add_argument("--runs", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pets-600"), help="else synthetic pictures")
    parser.add_argument(
        "--many", type=Path, default=Path("../shared/data/pets-128"), help="for the numbers of images; else as --data"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--figure", type=Path, help="also draw it there")
    return parser.parse_args()


def make_work(asked: argparse.Namespace, data: Path, cache: Path) -> Work:
    """The training that all series change: 64 x 64, batches of 8, all images of the data but the last eight."""
    root, names = find_pictures(data, cache)
    return Work(
        model=asked.model,
        root=str(root),
        train=names[:-8],
        validation=names[-8:],
        image_size=64,
        batch_size=8,
        epochs=1,
        workers=0,
        cache=str(cache),
        device=asked.device,
    )


def main() -> None:
    """Measure all series, print them, draw them."""
    asked, console = parse_arguments(), Console()
    measured: dict[str, list[Point]] = {}
    with tempfile.TemporaryDirectory() as cache:
        base = make_work(asked, asked.data, Path(cache) / "large")
        many = make_work(asked, asked.many if asked.many.exists() else asked.data, Path(cache) / "many")
        starts = {
            "image size": take_images(base, 32),
            "training images": replace(many, batch_size=32),
            "batch size": take_images(base, 256),
        }
        for series in make_series(asked.sizes, asked.images, asked.batches):
            start = starts[series.name]
            xs = [x for x in series.xs if series.name != "training images" or x <= len(start.train)]
            if xs:
                points = measured[series.name] = [measure(series.change(start, x), x) for x in xs]
                console.print(show(series.name, points, [series.work_of(point.x) for point in points]))
    if asked.runs:
        measured[RUNS] = measure_runs(asked.runs)
        console.print(show(RUNS, measured[RUNS], [float(number) for number in asked.runs]))
    console.print(f"{asked.model}; {describe_machine(torch.device(base.torch_device))}")
    if asked.figure:
        draw(measured, asked.figure)


if __name__ == "__main__":
    main()
