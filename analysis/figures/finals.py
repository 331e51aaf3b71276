"""What a training ends in: a metric by arm with every seed, and the report's test results as a table."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.figures.output import LeftOutError, Picture, Subject, finished, seeds_sentence
from analysis.figures.style import Look
from analysis.metrics import PRIMARY, metric_of

# The three that the report's printed test results are held against.
TABLE = {
    "test/dice_per_image": "per-image\nDice",
    "test/dice_dataset": "dataset\nDice",
    "test_at_0.4/dice_batch": "batch Dice\nat 0.4",
}
SPREAD = 0.5  # of a row's height, that the seeds take


def plot_finals(
    axes: Axes, runs: pd.DataFrame, metric: str, looks: Mapping[str, Look], *, scale: float = 1.0, label: str = ""
) -> None:
    """A final metric by arm, a row each: a marker a seed, a bar for the mean, grey lines between runs of one seed.

    The seeds stand at different heights of a row, in the same order in all rows.  scale: the axis shows the stored
    value times it.  label: of the axis, instead of the metric's own.
    """
    shown = finished(runs, looks).dropna(subset=metric)
    seeds = sorted(shown["seed"].unique())
    offsets = {
        seed: SPREAD * (index / (len(seeds) - 1) - 0.5) if len(seeds) > 1 else 0.0 for index, seed in enumerate(seeds)
    }
    rows = {arm: row for row, arm in enumerate(looks)}
    heights = shown["arm"].map(rows) + shown["seed"].map(offsets)
    placed = shown.assign(value=shown[metric] * scale, height=heights).sort_values("height")
    for _, of_seed in placed.groupby("seed"):
        axes.plot(of_seed["value"], of_seed["height"], color=style.GREY, linewidth=0.4, alpha=0.7, zorder=1)
    for arm, one in looks.items():
        of_arm = placed[placed["arm"] == arm]
        axes.plot(
            of_arm["value"],
            of_arm["height"],
            linestyle="none",
            marker=one.marker,
            color=one.colour,
            markersize=style.SEED_SIZE + 1,
            markeredgecolor="white",
            markeredgewidth=0.3,
        )
        if len(of_arm):
            row = rows[arm]
            axes.vlines(of_arm["value"].mean(), row - 0.36, row + 0.36, color=style.INK, linewidth=1.3, zorder=3)
    style.label_rows(axes, style.arm_names(looks))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_xlabel(label or metric_of(metric).label)


@style.styled()
def final_picture(subject: Subject, name: str, metric: str = PRIMARY) -> Picture:
    """A final metric of all arms.  Raises LeftOutError where no finished run has it."""
    runs, looks = subject.runs, subject.looks
    drawn = finished(runs, looks).dropna(subset=metric)
    if drawn.empty:
        raise LeftOutError(f"no finished run has {metric}")
    figure = style.new_figure(style.COLUMN, style.rows_height(style.arm_names(looks)) + 0.5)
    plot_finals(figure.subplots(), runs, metric, looks)
    what = metric_of(metric).phrase
    sentences = [
        f"{what[0].upper()}{what[1:]} of every run.",
        "Markers: seeds; bars: their mean; grey lines join the runs of one seed.",
        "No interval is drawn: arms are compared seed by seed, and the intervals are those of the paired differences.",
        seeds_sentence(runs, looks, drawn),
    ]
    return subject.picture(name, what, figure, sentences)


def table_rows(of_arm: pd.DataFrame, metrics: Iterable[str]) -> list[tuple[str, list[str]]]:
    """The rows of one arm's test results: the mean, the standard deviation from two seeds on, each seed."""
    values = of_arm.sort_values("seed").set_index("seed")[list(metrics)]
    rows = {"mean": values.mean()}
    if len(values) > 1:
        rows["standard deviation"] = values.std(ddof=1)
    rows |= {f"seed {seed}": row for seed, row in values.iterrows()}
    return [(name, [f"{value:.4f}" if pd.notna(value) else "–" for value in row]) for name, row in rows.items()]


def draw_table(figure: Figure, blocks: Sequence[tuple[str, list[tuple[str, list[str]]]]], heads: Sequence[str]) -> None:
    """Blocks of rows under one line of heads, ruled as in a book: lines above, below, and under the heads."""
    num_lines = 2 + sum(len(rows) + 1 for _, rows in blocks)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(num_lines + 0.3, -0.3))
    columns = [1.0 - 0.21 * index for index in reversed(range(len(heads)))]
    for column, head in zip(columns, heads, strict=True):
        axes.text(column, 1.9, head, ha="right", va="bottom", linespacing=1.05)
    line = 2.0
    for edge, width in ((-0.1, 0.9), (2.05, 0.5), (num_lines + 0.1, 0.9)):
        axes.axhline(edge, color=style.INK, linewidth=width)
    for arm, rows in blocks:
        axes.text(0, line + 0.75, arm, weight="bold", va="baseline")
        for name, cells in rows:
            line += 1
            axes.text(0.03, line + 0.75, name, va="baseline")
            for column, cell in zip(columns, cells, strict=True):
                axes.text(column, line + 0.75, cell, ha="right", va="baseline")
        line += 1


@style.styled()
def table_picture(subject: Subject, name: str, arms: Iterable[str]) -> Picture:
    """The test results that the report prints, of every seed.  Raises LeftOutError where no such run finished."""
    shown = tuple(arms)
    looks = subject.looks_of(shown)
    runs = finished(subject.runs, looks).reindex(columns=["arm", "seed", *TABLE])
    runs = runs.dropna(subset=list(TABLE), how="all")
    blocks = [
        (style.wrap(arm, 60), table_rows(of_arm, TABLE)) for arm in looks if len(of_arm := runs[runs["arm"] == arm])
    ]
    if not blocks:
        raise LeftOutError(f"no finished run{subject.of_arms(shown)} has test results")
    num_lines = 2 + sum(len(rows) + 1 for _, rows in blocks)
    figure = style.new_figure(style.COLUMN, 0.135 * num_lines + 0.1)
    draw_table(figure, blocks, list(TABLE.values()))
    sentences = [
        "Test Dice: mean over images and of summed counts, both at each run's own threshold, and the report's mean "
        "over batches at a threshold of 0.4.",
        seeds_sentence(subject.runs, looks, runs),
    ]
    return subject.picture(name, "test results", figure, sentences)
