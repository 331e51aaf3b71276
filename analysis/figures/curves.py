"""Curves over the epochs: the mean over seeds, the range between them, and every seed."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from analysis.figures import style
from analysis.figures.output import LeftOutError, Picture, Subject, finished, of_runs, seeds_sentence
from analysis.figures.style import Look
from analysis.metrics import metric_of
from analysis.numbers import plural

MARKERS_A_CURVE = 6
MANY_EPOCHS = 100  # from here on lines are thinner, so that noisy ones do not run into each other
HEIGHT = 2.1  # inches, without the legend
LINES = "Thick lines: mean of finished runs; thin lines: single runs"
BAND = "bands: from the lowest to the highest (no interval)."
NO_BAND = "no interval is drawn."


def plot_curves(axes: Axes, epochs: pd.DataFrame, runs: pd.DataFrame, metric: str, looks: Mapping[str, Look]) -> None:
    """One metric over the epochs, for every arm of `looks`.

    The band is the range over the seeds, because an interval of the mean from three seeds is several times as wide as
    what they show.  Runs that did not finish are dotted, end in a cross, and count neither for mean nor for band;
    values that are not finite are gaps.

    epochs: arm, seed, epoch, metric, value.  runs: arm, seed, state.
    """
    chosen, is_finished = select(epochs, runs, metric, looks)
    last_epoch = int(chosen["epoch"].max()) if len(chosen) else 1
    limits = value_limits(chosen.loc[is_finished, "value"].to_numpy(), chosen.loc[~is_finished, "value"].to_numpy())
    for position, (arm, one) in enumerate(looks.items()):
        of_arm = chosen["arm"] == arm
        draw_seeds(axes, chosen[of_arm & is_finished], one)
        draw_unfinished(axes, chosen[of_arm & ~is_finished], one, limits)
        draw_mean(axes, chosen[of_arm & is_finished], arm, one, position, last_epoch)
    margin = 0.5 if last_epoch == 1 else 0.02 * last_epoch
    axes.set_xlim(1 - margin, last_epoch + margin)
    axes.set_ylim(*limits)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel(metric_of(metric).label)


def select(
    epochs: pd.DataFrame, runs: pd.DataFrame, metric: str, looks: Iterable[str]
) -> tuple[pd.DataFrame, "pd.Series[bool]"]:
    """The rows of a metric and of those arms, without infinities; and which are of finished runs."""
    chosen = epochs[(epochs["metric"] == metric) & epochs["arm"].isin(list(looks))].sort_values(["seed", "epoch"])
    value = chosen["value"].astype(float).replace([np.inf, -np.inf], np.nan)
    chosen = chosen.assign(value=value)
    return chosen, of_runs(chosen, finished(runs, looks))


def draw_seeds(axes: Axes, of_arm: pd.DataFrame, one: Look) -> None:
    """Each finished run as a thin line; as a dot where it has a single epoch."""
    alpha = style.seed_alpha(of_arm["seed"].nunique())
    for _, run in of_arm.groupby("seed"):
        marker = one.marker if len(run) == 1 else ""
        axes.plot(
            run["epoch"],
            run["value"],
            color=one.colour,
            linewidth=style.SEED_WIDTH,
            alpha=alpha,
            marker=marker,
            markersize=style.SEED_SIZE,
            markeredgewidth=0,
        )


def draw_unfinished(axes: Axes, of_arm: pd.DataFrame, one: Look, limits: tuple[float, float]) -> None:
    """Each run that did not finish as a thin dotted line, with a cross at its last value between the limits."""
    for _, run in of_arm.dropna(subset="value").groupby("seed"):
        axes.plot(run["epoch"], run["value"], color=one.colour, linewidth=style.SEED_WIDTH + 0.2, linestyle=":")
        seen = run[run["value"].between(*limits)].tail(1)
        axes.plot(seen["epoch"], seen["value"], color=one.colour, linestyle="none", marker="x", markersize=4, zorder=4)


def draw_mean(axes: Axes, of_arm: pd.DataFrame, arm: str, one: Look, position: int, last_epoch: int) -> None:
    """The mean over seeds with its band; markers stand at different epochs for different arms."""
    by_epoch = of_arm.groupby("epoch")["value"].agg(["mean", "min", "max"])
    if of_arm["seed"].nunique() > 1:
        axes.fill_between(
            by_epoch.index, by_epoch["min"], by_epoch["max"], color=one.colour, alpha=style.BAND_ALPHA, linewidth=0
        )
    step = max(1, round(last_epoch / MARKERS_A_CURVE))
    axes.plot(
        by_epoch.index,
        by_epoch["mean"],
        color=one.colour,
        linestyle=one.line,
        linewidth=style.MEAN_WIDTH if last_epoch < MANY_EPOCHS else style.MEAN_WIDTH - 0.5,
        marker=one.marker,
        markersize=style.MEAN_SIZE if last_epoch == 1 else style.SEED_SIZE + 0.8,
        markeredgewidth=0,
        markevery=(position * 2 % step, step),
        label=arm,
        zorder=3,
    )


def value_limits(inside: NDArray[np.float64], beside: NDArray[np.float64]) -> tuple[float, float]:
    """Limits of an axis that show all of `inside`, and of `beside` what lies within its height above and below.

    So a diverged run cannot press all others into a line.  Where nothing is inside, the middle nine tenths of `beside`
    are.  Values that are not finite do not count; 0 to 1 where there are none that do.
    """
    inside, beside = inside[np.isfinite(inside)], beside[np.isfinite(beside)]
    if not len(inside):
        if not len(beside):
            return 0.0, 1.0
        inside = np.quantile(beside, [0.05, 0.95])
    low, high = float(inside.min()), float(inside.max())
    height = high - low or max(abs(high), 0.01) * 0.1
    near = beside[(beside >= low - height) & (beside <= high + height)]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.05 * (high - low or height)
    return low - margin, high + margin


@style.styled()
def curves_picture(subject: Subject, epochs: pd.DataFrame, metric: str, name: str, arms: Iterable[str]) -> Picture:
    """The curves of some arms.  Raises LeftOutError where no run has an epoch with that metric."""
    shown = tuple(arms)
    looks = subject.looks_of(shown)
    chosen, is_finished = select(epochs, subject.runs, metric, looks)
    if not chosen["value"].notna().any():
        raise LeftOutError(f"no run{subject.of_arms(shown)} has epochs with {metric}")
    figure = style.new_figure(style.COLUMN, HEIGHT)
    plot_curves(figure.subplots(), epochs, subject.runs, metric, looks)
    style.add_legend(figure, looks)
    what = metric_of(metric).phrase
    unfinished = chosen[~is_finished].dropna(subset="value")[["arm", "seed"]].drop_duplicates()
    drawn = chosen[is_finished].dropna(subset="value")
    has_mean, has_band = len(drawn) > 0, (drawn.groupby("arm")["seed"].nunique() > 1).any()
    dotted = (
        f"Thin and dotted, ending in a cross: {plural(len(unfinished), 'unfinished run')}, in neither mean nor band."
        if len(unfinished)
        else ""
    )
    sentences = [
        f"{what[0].upper()}{what[1:]} over the epochs{subject.how_many(shown)}.",
        f"{LINES}; {BAND if has_band else NO_BAND}" if has_mean else NO_BAND.capitalize(),
        seeds_sentence(subject.runs, looks, drawn, "no epochs"),
        dotted,
    ]
    return subject.picture(name, what, figure, sentences)
