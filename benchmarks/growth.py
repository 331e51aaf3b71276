"""How time and memory grow: with the image size, the number of images, the batch size, and the number of runs.

    python -m benchmarks.growth --figure growth.png

The suite trains alone, a process a measurement, after an epoch that warms up; runs are calls of `runner.py`, in the
environment of whoever starts this.  Printed are the seconds of an epoch (the median of those timed), a step or a call,
and the most memory held; and for each series the exponents of power laws through both: 1 where the cost grows as the
work does.  The work of an image size is its pixels, and of a batch size the images of a step.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.command_line import add_pictures, at_least, measuring
from benchmarks.contenders import suite
from benchmarks.contest import Work
from benchmarks.growth_curves import Curve, Point, describe, draw, show
from benchmarks.machine import describe_machine
from benchmarks.memory import PeakMemory
from benchmarks.overhead import Arena, user_environment
from benchmarks.pictures import find_pictures
from benchmarks.training import take_turn

MANY_PICTURES = Path("../shared/data/pets-128")
SETTINGS = ("data.synthetic_images=60", "data.image_size=32", "trainer.epochs=5")


@dataclass(frozen=True)
class Series:
    """Works that differ in one thing.

    start: the work that they change.  xs: what differs.  work, work_of: what that makes more of, and how much.
    cost: what is timed, an epoch or a step.
    """

    name: str
    start: Work
    xs: tuple[int, ...]
    change: Callable[[Work, int], Work]
    work: str
    work_of: Callable[[int], float]
    cost: str


def take_images(work: Work, number: int) -> Work:
    """The same with so many training images."""
    return replace(work, train=work.train[:number])


def make_series(asked: argparse.Namespace, base: Work, many: Work) -> list[Series]:
    """The three series; each changes what the others hold fixed.

    A point of the number of images is one epoch, which is long already; of the others, several.
    """
    several = replace(base, epochs=asked.epochs)
    numbers = tuple(number for number in asked.images if number <= len(many.train))
    return [
        Series(
            name="image size",
            start=take_images(several, 32),
            xs=tuple(asked.sizes),
            change=lambda work, size: replace(work, image_size=size),
            work="pixels",
            work_of=lambda size: size**2,
            cost="epoch",
        ),
        Series("training images", replace(many, batch_size=32), numbers, take_images, "images", float, "epoch"),
        Series(
            name="batch size",
            start=take_images(several, 256),
            xs=tuple(asked.batches),
            change=lambda work, size: replace(work, batch_size=size),
            work="images of a step",
            work_of=float,
            cost="step",
        ),
    ]


def measure(series: Series) -> Curve:
    """The trainings of a series.  Pictures are decoded before, in this process: in a call the runner does that."""
    points = []
    for x in series.xs:
        work = series.change(series.start, x)
        suite.load(work, suite.configure(work))
        turn = take_turn("suite", work)
        seconds = statistics.median(turn.outcome.training[1:])
        steps = -(-turn.outcome.images // work.batch_size) if series.cost == "step" else 1
        points.append(Point(x, series.work_of(x), seconds / steps, turn.memory_gib))
    start = series.start
    fixed = {
        "image size": f"{start.image_size} x {start.image_size}",
        "batch size": f"batch {start.batch_size}",
        "training images": f"{len(start.train)} images",
    }
    about = ", ".join(text for name, text in fixed.items() if name != series.name)
    timed = f"{start.epochs} timed epoch{'s' if start.epochs > 1 else ''} a point"
    return Curve(series.name, series.work, series.cost, points, f"{about}; {timed}")


def measure_runs(numbers: Sequence[int]) -> Curve:
    """Calls that train so many small runs one after the other."""
    points = []
    with tempfile.TemporaryDirectory() as place:
        arena = Arena(Path(place), SETTINGS)
        for number in (1, *numbers):  # the first makes database and data
            start = time.perf_counter()
            with Path(os.devnull).open("w") as output:
                call = subprocess.Popen(  # noqa: S603
                    [sys.executable, *arena.command(number)],
                    cwd=place,
                    env=user_environment(),
                    stdout=output,
                    text=True,
                )
                with PeakMemory(call) as memory:
                    call.wait()
                    seconds = time.perf_counter() - start
            if call.returncode:
                sys.exit(f"a call for {number} runs failed")
            points.append(Point(number, float(number), seconds, memory.peak / 2**30))
    return Curve("runs in a call", "runs", "call", points[1:], ", ".join(SETTINGS))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet34_unet", choices=("resnet34_unet", "unet"))
    parser.add_argument("--sizes", type=at_least(32), nargs="*", default=[64, 128, 192, 256, 384, 512])
    parser.add_argument("--images", type=at_least(2), nargs="*", default=[300, 600, 1200, 2400, 4800, 7341])
    parser.add_argument("--batches", type=at_least(2), nargs="*", default=[4, 8, 16, 32, 64])
    parser.add_argument("--runs", type=at_least(1), nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--epochs", type=at_least(1), default=3, help="timed epochs of an image size or a batch size")
    add_pictures(parser)
    add_pictures(parser, "--many", MANY_PICTURES)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--figure", type=Path, help="also draw it there")
    return parser.parse_args()


def make_work(asked: argparse.Namespace, data: Path | None, cache: Path) -> Work:
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
    asked, console, curves = parse_arguments(), Console(), list[Curve]()
    with measuring(console), tempfile.TemporaryDirectory() as cache:
        base = make_work(asked, asked.data, Path(cache) / "large")
        many = make_work(asked, asked.many or asked.data, Path(cache) / "many")
        for series in make_series(asked, base, many):
            if series.xs:
                curves.append(measure(series))
                console.print(describe(curves[-1]), show(curves[-1]), sep="\n")
    if asked.runs:
        curves.append(measure_runs(asked.runs))
        console.print(describe(curves[-1]), show(curves[-1]), sep="\n")
    console.print(f"{asked.model}; {describe_machine(torch.device(base.torch_device))}")
    if asked.figure and curves:
        draw(curves, asked.figure)


if __name__ == "__main__":
    main()
