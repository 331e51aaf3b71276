"""Paired differences: every seed's advantage, its mean with intervals, and the margin, a row a hypothesis."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.figures.output import LeftOutError, Picture, Subject
from analysis.numbers import plural
from analysis.verdicts import Verdict

ROW = 0.40  # inches
MOST_APART = 10.0  # rows whose values are further apart than this factor do not share an axis
BEYOND = 1.0  # how far an interval may widen an axis, in heights of what it shows besides
NAME_WIDTH, REASON_WIDTH = 40, 46  # letters


def panels(verdicts: Sequence[Verdict]) -> list[tuple[str, list[Verdict]]]:
    """The rows that share an axis, with its unit: those of one unit and of about one size.

    An arm that fails may be 40 points apart from another, while a margin is half a point: on one axis nothing could be
    read.
    """
    by_unit: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_unit.setdefault(unit_of(verdict), []).append(verdict)
    found: list[tuple[str, list[Verdict]]] = []
    for unit, rows in by_unit.items():
        axis: list[Verdict] = []
        for verdict in sorted(rows, key=reach):
            # Rows of nothing but zeros go with those of any size.
            smallest = next((reach(one) for one in axis if reach(one)), math.inf)
            if not axis or reach(verdict) > MOST_APART * smallest:
                axis = []
                found.append((unit, axis))
            axis.append(verdict)
    return [(unit, sorted(rows, key=lambda verdict: verdict.number)) for unit, rows in found]


def unit_of(verdict: Verdict) -> str:
    """The unit of a row's axis."""
    return "ratio" if verdict.hypothesis.ratio else verdict.metric.unit or verdict.metric.phrase


def reach(verdict: Verdict) -> float:
    """How far from no difference the seeds and the margin lie; of ratios, as a logarithm."""
    return max(abs(value) for value in on_scale(verdict, (verdict.margin, *verdict.advantages)))


def on_scale(verdict: Verdict, values: Sequence[float]) -> list[float]:
    """Values as they stand along the axis, those that are not finite left out: as they are; of ratios the logarithm."""
    ratio = verdict.hypothesis.ratio
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not ratio)]
    return [math.log(value) for value in finite] if ratio else finite


def plot_differences(axes: Axes, verdicts: Sequence[Verdict]) -> None:
    """Rows of one unit: the margin shaded, a dot a seed, the mean, 95 % thick and the verdict's interval thin.

    To the right lies the claim's direction.  Ratios stand on a logarithmic axis, with the margin from 1 / (1 + m) to
    1 + m.  Intervals that leave the axis end in an arrowhead there.
    """
    is_ratio = verdicts[0].hypothesis.ratio
    if is_ratio:
        axes.set_xscale("log")
    low, high = axis_limits(verdicts)
    axes.set_xlim(low, high)
    axes.axvline(1.0 if is_ratio else 0.0, color=style.INK, linewidth=0.7, zorder=1)
    for row, verdict in enumerate(verdicts):
        draw_row(axes, row, verdict)
    style.label_rows(axes, [row_name(verdict) for verdict in verdicts])
    axes.tick_params(axis="y", pad=6)  # clear of arrowheads
    if is_ratio:
        style.write_log_axis(axes.xaxis, low, high)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=verdicts[0].metric.step == 1))
    axes.set_xlabel("advantage (ratio)" if is_ratio else f"advantage ({unit_of(verdicts[0])})")


def axis_limits(verdicts: Sequence[Verdict]) -> tuple[float, float]:
    """Limits that show all seeds, means and margins, and of the intervals as much again."""
    inner = [0.0]
    outer = []
    for verdict in verdicts:
        margin = on_scale(verdict, (verdict.margin,))
        inner += [*margin, *(-value for value in margin), *on_scale(verdict, verdict.advantages)]
        outer += [end for ends in (verdict.interval, verdict.verdict_interval) for end in on_scale(verdict, ends or ())]
    height = max(inner) - min(inner) or 1.0
    low = max(min([*inner, *outer]), min(inner) - BEYOND * height)
    high = min(max([*inner, *outer]), max(inner) + BEYOND * height)
    if low == high:  # nothing but a margin of 0
        low, high = low - 0.5, high + 0.5
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    return (math.exp(low), math.exp(high)) if verdicts[0].hypothesis.ratio else (low, high)


def draw_row(axes: Axes, row: int, verdict: Verdict) -> None:
    """One hypothesis."""
    least = 1 / verdict.margin if verdict.hypothesis.ratio else -verdict.margin
    axes.add_patch(Rectangle((least, row - 0.4), verdict.margin - least, 0.8, color="#DADADA", linewidth=0, zorder=0.5))
    for interval, width in ((verdict.verdict_interval, 0.9), (verdict.interval, 2.8)):
        if interval is not None:
            draw_interval(axes, row, interval, width)
    # One below the other, so that seeds of equal advantage are all seen.
    heights = np.linspace(row + 0.16, row + 0.36, len(verdict.advantages))
    axes.plot(
        verdict.advantages,
        heights,
        linestyle="none",
        marker="o",
        color=style.INK,  # colours stand for arms
        markersize=style.SEED_SIZE,
        markeredgecolor="white",
        markeredgewidth=0.3,
        alpha=0.9,
    )
    if verdict.estimate is None:
        say_why_empty(axes, row, verdict)
    else:
        axes.plot(
            [verdict.estimate], [row], marker="D", color="white", markeredgecolor=style.INK, markersize=4.2, zorder=4
        )
    axes.annotate(
        verdict.verdict,
        (1.0, row),
        xycoords=axes.get_yaxis_transform(),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        weight="normal" if verdict.verdict == "inconclusive" else "bold",
    )


def say_why_empty(axes: Axes, row: int, verdict: Verdict) -> None:
    """The reason in the middle of a row that has no difference, above the line of no difference."""
    reason = style.wrap(verdict.cause or "nothing to compare yet", REASON_WIDTH)
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    place: style.Options = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center"}
    axes.text(0.5, row, reason, bbox=behind, **place)


def draw_interval(axes: Axes, row: int, interval: tuple[float, float], width: float) -> None:
    """An interval as far as the axis goes; an arrowhead where it goes on."""
    low, high = axes.get_xlim()
    axes.hlines(row, max(interval[0], low), min(interval[1], high), color=style.INK, linewidth=width, zorder=2)
    for end, edge, marker in ((interval[0] < low, low, "<"), (interval[1] > high, high, ">")):
        if end:
            axes.plot([edge], [row], marker=marker, color=style.INK, markersize=4, clip_on=False, zorder=3)


def row_name(verdict: Verdict) -> str:
    """The hypothesis in short: its number and arms, and below them its metric."""
    hypothesis = verdict.hypothesis
    between = "against" if hypothesis.same else "over"
    arms = f"{verdict.number}. {hypothesis.first} {between} {hypothesis.second}"
    return f"{style.wrap(arms, NAME_WIDTH)}\n{style.wrap(verdict.metric.phrase, NAME_WIDTH)}"


@style.styled()
def differences_picture(subject: Subject, verdicts: Sequence[Verdict], name: str) -> Picture:
    """All hypotheses of an ablation, an axis a unit.  Raises LeftOutError where it declares none."""
    if not verdicts:
        raise LeftOutError("the ablation declares no hypothesis")
    groups = panels(verdicts)
    heights = [style.rows_height([row_name(verdict) for verdict in rows], ROW) for _, rows in groups]
    figure = style.new_figure(style.PAGE, sum(heights) + 0.42 * len(groups))
    all_axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[height + 0.1 for height in heights])[:, 0]
    for axes, (_, rows) in zip(all_axes, groups, strict=True):
        plot_differences(axes, rows)
    return subject.picture(name, "paired differences", figure, describe(groups))


def describe(groups: Sequence[tuple[str, Sequence[Verdict]]]) -> list[str]:
    """The caption: what is drawn, and nothing else."""
    verdicts = [verdict for _, rows in groups for verdict in rows]
    ratio = any(verdict.hypothesis.ratio for verdict in verdicts)
    numbers = sorted({len(verdict.seeds) for verdict in verdicts})
    seeds = plural(numbers[-1], "seed") if len(numbers) == 1 else f"{numbers[0]} to {plural(numbers[-1], 'seed')}"
    sentences = ["Paired differences, positive where they are in the claim's direction."]
    if any(verdict.advantages for verdict in verdicts):
        sentences.append("Dots: the advantage on each seed.")
    if any(verdict.estimate is not None for verdict in verdicts):
        sentences.append(f"Diamonds: the mean{' (of ratios, the geometric one)' if ratio else ''}.")
    sentences += describe_intervals(verdicts)
    inverse = " (of ratios, from its inverse)" if ratio else ""
    sentences.append(f"Grey: from minus to plus the margin{inverse}, where a difference is of no practical use.")
    if any(leaves_axis(rows) for _, rows in groups):
        sentences.append("An arrowhead: the interval goes on beyond the axis.")
    return [*sentences, f"n = {seeds} a comparison."]


def describe_intervals(verdicts: Sequence[Verdict]) -> list[str]:
    """What the bars are, and that there are none."""
    sentences = []
    if any(verdict.interval is not None for verdict in verdicts):
        sentences.append("Thick bars: 95 % t interval of the mean.")
    if any(verdict.verdict_interval is not None for verdict in verdicts):
        level = f"{100 * verdicts[0].level:.4g} % for {plural(len(verdicts), 'hypothesis', 'hypotheses')}"
        sentences.append(f"Thin bars: the t interval that the verdict is read off, {level}.")
    return sentences or ["No interval is drawn: it takes two seeds that both arms have finished."]


def leaves_axis(verdicts: Sequence[Verdict]) -> bool:
    """Whether an interval of the rows of one axis ends outside of it."""
    low, high = axis_limits(verdicts)
    ends = [end for verdict in verdicts for end in (*(verdict.interval or ()), *(verdict.verdict_interval or ()))]
    return any(end < low or end > high for end in ends)
