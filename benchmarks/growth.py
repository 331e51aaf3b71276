"""How a training's time and memory grow: with the image size, the number of images, and the batch size.

    python -m benchmarks.growth --data ../shared/data/pets-128 --figure growth.png

The suite trains alone, a process a measurement, one epoch after one that warms up.  Printed are seconds of an epoch and
the most memory held, and for each series the exponent of a power law through its points: 1 where the cost grows as the
work does.  The image size is counted in pixels.
"""

import argparse
import math
import tempfile
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
from benchmarks.pictures import find_pictures
from benchmarks.training import take_turn


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
    """One measurement: seconds of an epoch, GiB held at most, seconds until the first epoch."""

    x: int
    seconds: float
    memory_gib: float
    start: float


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
    """One training; where its data is not decoded yet, its start is that much longer."""
    turn = take_turn("suite", work)
    return Point(x, turn.outcome.training[-1], turn.memory_gib, turn.outcome.start)


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of a power law through the points, least squares of logarithms; nan where xs are all the same."""
    if len(set(xs)) < 2:
        return math.nan
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def show(series: Series, points: Sequence[Point]) -> Table:
    """A series as a table, with exponents of time and memory against the work."""
    work = [series.work_of(point.x) for point in points]
    power = exponent(work, [point.seconds for point in points])
    title = series.name if math.isnan(power) else f"{series.name}: time grows with the work to the power of {power:.2f}"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for column in (series.name, "epoch, s", "memory, GiB", "start, s"):
        table.add_column(column, justify="right")
    for point in points:
        table.add_row(str(point.x), f"{point.seconds:.2f}", f"{point.memory_gib:.2f}", f"{point.start:.1f}")
    return table


def draw(measured: dict[str, list[Point]], path: Path) -> None:
    """Time and memory against each thing, on logarithmic axes."""
    figure, all_axes = plt.subplots(2, len(measured), figsize=(3.2 * len(measured), 4.6), layout="constrained")
    for column, (name, points) in zip(all_axes.T, measured.items(), strict=True):
        for axes, label in zip(column, ("epoch (s)", "memory (GiB)"), strict=True):
            values = [point.seconds if label.startswith("epoch") else point.memory_gib for point in points]
            axes.plot([point.x for point in points], values, marker="o")
            axes.set(xscale="log", yscale="log", xlabel=name, ylabel=label)
            axes.grid(which="both", linewidth=0.3)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure all series, print them, draw them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet34_unet", choices=("resnet34_unet", "unet"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 192, 256, 384, 512])
    parser.add_argument("--images", type=int, nargs="+", default=[300, 600, 1200, 2400])
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pets-600"), help="else synthetic pictures")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--figure", type=Path, help="also draw it there")
    arguments, console = parser.parse_args(), Console()
    measured: dict[str, list[Point]] = {}
    with tempfile.TemporaryDirectory() as cache:
        root, names = find_pictures(arguments.data, Path(cache))
        base = Work(
            model=arguments.model,
            root=str(root),
            train=names[:-8],
            validation=names[-8:],
            image_size=64,
            batch_size=8,
            epochs=1,
            workers=0,
            cache=cache,
            device=arguments.device,
        )
        fixed = {"image size": 32, "training images": len(base.train), "batch size": 256}
        for series in make_series(arguments.sizes, arguments.images, arguments.batches):
            start = take_images(base, fixed[series.name])
            xs = [x for x in series.xs if series.name != "training images" or x <= len(base.train)]
            measured[series.name] = [measure(series.change(start, x), x) for x in xs]
            console.print(show(series, measured[series.name]))
    console.print(f"{arguments.model}; {describe_machine(torch.device(base.torch_device))}")
    if arguments.figure:
        draw(measured, arguments.figure)


if __name__ == "__main__":
    main()
