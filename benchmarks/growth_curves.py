"""What `benchmarks.growth` measured: exponents, tables, the figure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from rich import box
from rich.table import Table

# Labels and limits of a logarithmic axis: these times the powers of ten.
STEPS = (1, 2, 5)
# Numbers from here on are turned, or they would touch.
LONG_LABEL = 1000


@dataclass(frozen=True)
class Point:
    """One measurement: the work in it, seconds of an epoch, a step or a call, GiB held at most."""

    x: int
    work: float
    seconds: float
    memory_gib: float


@dataclass(frozen=True)
class Curve:
    """A series.  work: what there is more of from point to point.  cost: epoch, step or call.  about: what is fixed."""

    name: str
    work: str
    cost: str
    points: Sequence[Point]
    about: str


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of a power law through the points, least squares of logarithms; nan where xs are all the same."""
    if len(set(xs)) < 2:
        return math.nan
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def describe(curve: Curve) -> str:
    """What was measured, and both exponents in words where there are several points."""
    work = [point.work for point in curve.points]
    time = exponent(work, [point.seconds for point in curve.points])
    memory = exponent(work, [point.memory_gib for point in curve.points])
    text = f"{curve.name} ({curve.about})"
    if math.isnan(time):
        return text
    return f"{text}: with the {curve.work}, time grows to the power of {time:.2f} and memory to that of {memory:.2f}"


def show(curve: Curve) -> Table:
    """A series as a table."""
    table, digits = Table(box=box.SIMPLE_HEAD), 3 if curve.cost == "step" else 2
    for column in (curve.name, f"{curve.cost}, s", "memory, GiB"):
        table.add_column(column, justify="right")
    for point in curve.points:
        table.add_row(f"{point.x:,}", f"{point.seconds:.{digits}f}", f"{point.memory_gib:.2f}")
    return table


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Time, and memory below it, against each thing."""
    size = (3.4 * len(curves), 5.6)
    figure, all_axes = plt.subplots(2, len(curves), figsize=size, squeeze=False, layout="constrained")
    for (upper, lower), curve in zip(all_axes.T, curves, strict=True):
        draw_time(upper, curve)
        draw_memory(lower, curve)
        for axes in (upper, lower):
            axes.set(xscale="log", xlabel=curve.name)
            axes.set_xticks([point.x for point in curve.points], [f"{point.x:,}" for point in curve.points])
            axes.tick_params(axis="x", rotation=45 if curve.points[-1].x >= LONG_LABEL else 0)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.grid(linewidth=0.3)
    all_axes[0, 0].legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_time(axes: Axes, curve: Curve) -> None:
    """Seconds on a logarithmic axis, and the line that they would follow if they grew as the work does."""
    first, xs = curve.points[0], [point.x for point in curve.points]
    seconds = [point.seconds for point in curve.points]
    as_work = [first.seconds * point.work / first.work for point in curve.points]
    axes.plot(xs, seconds, marker="o", label="measured")
    axes.plot(xs, as_work, color="grey", linestyle="--", linewidth=0.8, label="as the work", zorder=1)
    axes.set(yscale="log", ylabel=f"{curve.cost} (s)", ylim=round_limits([*seconds, *as_work]))
    axes.yaxis.set_major_locator(LogLocator(subs=STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def draw_memory(axes: Axes, curve: Curve) -> None:
    """GiB from zero, with room above the highest."""
    memory = [point.memory_gib for point in curve.points]
    axes.plot([point.x for point in curve.points], memory, marker="o")
    axes.set(ylabel="memory (GiB)", ylim=(0, 1.15 * max(memory)))


def round_limits(values: Sequence[float]) -> tuple[float, float]:
    """The nearest of ..., 1, 2, 5, 10, ... that lie clearly below and above all values, so that both are labelled."""
    exponents = range(math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 2)
    marks = [step * 10.0**power for power in exponents for step in STEPS]
    lowest, highest = 0.97 * min(values), 1.03 * max(values)
    return max(mark for mark in marks if mark <= lowest), min(mark for mark in marks if mark >= highest)
