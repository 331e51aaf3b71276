"""Frames to matplotlib figures: one look for all, one colour an arm, every seed shown.  Never reads runs."""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart, from dark to light so that greyscale does too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
MISSING = "missing"
LABELS = {
    "train/loss": "training loss",
    "val/loss": "validation loss",
    "val/dice_per_image": "validation Dice (mean over images)",
    "test/dice_per_image": "test Dice (mean over images)",
}


def look(position: int) -> tuple[str, str | tuple[float, tuple[float, ...]]]:
    """Colour and line style of an arm: 36 different pairs, then again from the first."""
    turn, number = divmod(position, len(COLOURS))
    return COLOURS[number], LINES[(number + turn) % len(LINES)]


def plot_curves(axes: Axes, epochs: pd.DataFrame, metric: str, arms: Sequence[str]) -> None:
    """One metric over the epochs: the mean over seeds as a thick line an arm, each seed as a thin one.

    epochs: tidy, with columns arm, seed, epoch, metric, value.
    """
    chosen = epochs[epochs["metric"] == metric]
    for position, arm in enumerate(arms):
        colour, line = look(position)
        of_arm = chosen[chosen["arm"] == arm]
        for _, of_seed in of_arm.groupby("seed"):
            axes.plot(of_seed["epoch"], of_seed["value"], color=colour, linewidth=0.7, alpha=0.5)
        mean = of_arm.groupby("epoch")["value"].mean()
        axes.plot(mean.index, mean, color=colour, linestyle=line, linewidth=2, label=arm)
    axes.set_xlabel("epoch")
    axes.set_ylabel(LABELS.get(metric, metric))
    axes.grid(alpha=0.25)


def plot_final(axes: Axes, runs: pd.DataFrame, metric: str, arms: Sequence[str]) -> None:
    """One final metric by arm: a dot a seed, a bar for the mean; says so where no run has it."""
    if metric not in runs:
        runs = runs.assign(**{metric: float("nan")})
    if runs[metric].isna().all():
        axes.text(0.5, 0.5, MISSING, transform=axes.transAxes, ha="center", va="center")
    for position, arm in enumerate(arms):
        colour, _ = look(position)
        values = runs.loc[runs["arm"] == arm, metric].dropna()
        axes.plot([position] * len(values), values, "o", color=colour, markersize=6, alpha=0.8)
        if len(values):
            axes.hlines(values.mean(), position - 0.25, position + 0.25, color=colour, linewidth=2)
    axes.set_xticks(range(len(arms)), arms)
    axes.set_xlim(-0.6, len(arms) - 0.4)
    axes.set_ylabel(LABELS.get(metric, metric))
    axes.grid(axis="y", alpha=0.25)


def summary_figure(runs: pd.DataFrame, epochs: pd.DataFrame, title: str) -> Figure:
    """Training loss and validation Dice over the epochs, and the test Dice of every run, side by side."""
    arms = list(dict.fromkeys(runs["arm"]))
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    loss, dice, final = figure.subplots(1, 3, width_ratios=(1, 1, 0.8))
    plot_curves(loss, epochs, "train/loss", arms)
    plot_curves(dice, epochs, "val/dice_per_image", arms)
    plot_final(final, runs, "test/dice_per_image", arms)
    loss.legend(frameon=False)
    num_seeds = runs.groupby("arm")["seed"].nunique()
    seeds = f"{num_seeds.min()}" if num_seeds.min() == num_seeds.max() else f"{num_seeds.min()} to {num_seeds.max()}"
    seeds += " seed" if num_seeds.max() == 1 else " seeds"
    figure.suptitle(f"{title} ({seeds}: thick line or bar the mean, thin line or dot a seed)", fontsize=11)
    sns.despine(figure)
    return figure
