"""Claims that need more than two arms: test against validation over all runs, and variation from epoch to epoch."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.figures.curves import select
from analysis.figures.finals import plot_finals
from analysis.figures.output import LeftOutError, Picture, Subject, finish, finished, seeds_sentence
from analysis.figures.style import Look, Options
from analysis.metrics import TEST_AT_HALF
from analysis.numbers import join, plural
from analysis.statistics import LEAST_CORRELATED

VALIDATION = "val/dice_per_image"
VARIATION = "val/dice_variation"
HEIGHT = 2.6  # inches
# Outlines that stay apart where they overlap, without colour.
SHAPES = ("o", "s", "^", "D", "v", "+", "x", "*", "P", "<", ">", "1")
# What test against validation needs of every run, known or not.
SHARED = ("fingerprint", "data_fingerprint", "num_test", "train_seconds", VALIDATION, TEST_AT_HALF)
POINTS = ["ablation", "arm", "seed", "validation", "is_best", "test", "data_fingerprint", "num_test"]
LEAST_RANGE = 1.2  # of the axis of changes, from its lower end to its upper
LEAST_EPOCHS = 3  # below, the second half has no change to measure


def plot_changes(axes: Axes, epochs: pd.DataFrame, runs: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """How much the validation Dice changes from one epoch to the next: an arm's mean over seeds, in points, smoothed.

    Smoothed by a running mean over a twelfth of the epochs; the axis is logarithmic.
    """
    changes = epoch_changes(epochs, runs, looks)
    for position, (arm, one) in enumerate(looks.items()):
        mean = changes.get(arm)
        if mean is None:
            continue
        step = max(1, len(mean) // 6)
        mark: Options = {"marker": one.marker, "markersize": style.SEED_SIZE + 0.8, "markeredgewidth": 0}
        line: Options = {"linestyle": one.line, "linewidth": style.MEAN_WIDTH, "color": one.colour}
        axes.plot(mean.index, mean, markevery=(position * 2 % step, step), label=arm, **line, **mark)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high < LEAST_RANGE * low:  # no axis can be divided between numbers that are all but equal
        low, high = low / LEAST_RANGE, high * LEAST_RANGE
        axes.set_ylim(low, high)
    style.write_log_axis(axes.yaxis, low, high)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("change in an epoch (points)")


def run_changes(epochs: pd.DataFrame, runs: pd.DataFrame, looks: Mapping[str, Look]) -> pd.DataFrame:
    """Absolute change in points of every finished run by epoch, from the second on: arm, seed, epoch, change."""
    chosen, is_finished = select(epochs, runs, VALIDATION, looks)
    chosen = chosen[is_finished]
    change = 100 * chosen.groupby(["arm", "seed"])["value"].diff().abs()
    return chosen.assign(change=change).dropna(subset="change")[["arm", "seed", "epoch", "change"]]


def epoch_changes(epochs: pd.DataFrame, runs: pd.DataFrame, looks: Mapping[str, Look]) -> dict[str, "pd.Series[float]"]:
    """Mean absolute change in points by epoch, of every arm that has any; zeros, which have no logarithm, as gaps."""
    by_epoch = run_changes(epochs, runs, looks).groupby(["arm", "epoch"])["change"].mean()
    found = {}
    for arm, of_arm in by_epoch.groupby("arm"):
        values = of_arm.droplevel("arm")
        smooth = values.rolling(max(1, len(values) // 12), center=True, min_periods=1).mean()
        if (smooth > 0).any():
            found[str(arm)] = smooth[smooth > 0]
    return found


@style.styled()
def variation_picture(subject: Subject, epochs: pd.DataFrame, name: str) -> Picture:
    """Variation from epoch to epoch.  Raises LeftOutError where no finished run has enough epochs."""
    looks, runs = subject.looks, subject.runs
    measured = finished(runs, looks).dropna(subset=VARIATION)
    if measured.empty:
        raise LeftOutError(f"no finished run has {VARIATION}")
    changes = epoch_changes(epochs, runs, looks)
    if max((series.index.max() for series in changes.values()), default=0) < LEAST_EPOCHS:
        raise LeftOutError(f"no validation Dice changes between epochs, for which it takes {LEAST_EPOCHS} epochs")
    figure = style.new_figure(style.PAGE, max(1.9, style.rows_height(style.arm_names(looks)) + 0.5))
    left, right = figure.subplots(1, 2)
    label = "epoch-to-epoch change of validation Dice (points)"
    plot_finals(left, runs, VARIATION, looks, scale=100.0, label=label)
    left.set_xlim(left=0)
    plot_changes(right, epochs, runs, looks)
    style.add_legend(figure, looks)
    left_seeds = seeds_sentence(runs, looks, measured)
    right_seeds = seeds_sentence(runs, looks, run_changes(epochs, runs, looks), "no epochs")
    sentences = [
        "Variation of the validation Dice from epoch to epoch.",
        "Left: mean absolute change over the second half of the training; markers are the seeds, bars their mean, grey "
        "lines join the runs of one seed.",
        "Right: absolute change by epoch, mean over the seeds, smoothed over a twelfth of the epochs, on a logarithmic "
        "axis; epochs without any change are gaps.",
        "No interval is drawn.",
        left_seeds if left_seeds == right_seeds else f"Left: {left_seeds} Right: {right_seeds}",
    ]
    return subject.picture(name, "variation from epoch to epoch", figure, sentences)


def validation_and_test(
    runs_of: Mapping[str, pd.DataFrame], epochs_of: Mapping[str, pd.DataFrame] | None = None
) -> pd.DataFrame:
    """Validation and test Dice of every training that finished, each once.

    Both are at a threshold of 0.5, so that the thresholds' choice is no part of their difference.  Validation is that
    of the best epoch, whose weights are tested, where `epochs_of` has it, else of the last epoch.
    Columns: ablation, arm, seed, validation, is_best (which of the two), test, data_fingerprint ("" unknown), num_test.
    """
    frames = []
    for ablation, runs in runs_of.items():
        frame = runs[runs["state"] == "finished"].reindex(columns=list(dict.fromkeys([*runs.columns, *SHARED])))
        frame = with_history(frame, (epochs_of or {}).get(ablation))
        validation = frame["best"].fillna(frame[VALIDATION]).astype(float)
        frames.append(
            frame.assign(
                ablation=ablation,
                validation=validation,
                is_best=frame["best"].notna(),
                test=frame[TEST_AT_HALF].astype(float),
                data_fingerprint=frame["data_fingerprint"].astype(object).fillna(""),
            )
        )
    if not any(len(frame) for frame in frames):
        return pd.DataFrame(columns=POINTS)
    whole = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    whole = whole.dropna(subset=["validation", "test"])
    return whole.loc[first_of_training(whole), POINTS].reset_index(drop=True)


def with_history(runs: pd.DataFrame, epochs: pd.DataFrame | None) -> pd.DataFrame:
    """Runs with `best`, their best validation Dice, and `history`, all that their epochs have; NaN without epochs."""
    if epochs is None or epochs.empty:
        return runs.assign(best=np.nan, history=np.nan)
    by_run = epochs.sort_values(["metric", "epoch"]).groupby(["arm", "seed"])["value"].agg(tuple).rename("history")
    of_metric = epochs[epochs["metric"] == VALIDATION]
    best = of_metric.groupby(["arm", "seed"])["value"].max().rename("best")
    return runs.join(best, on=["arm", "seed"]).join(by_run, on=["arm", "seed"])


def first_of_training(runs: pd.DataFrame) -> list[int]:
    """The rows of those runs that are the first of their training.

    Runs are of one training where their fingerprint is the same, or, in one ablation, seed, epochs, training time and
    validation Dice: arms that differ in the evaluation alone take a training over with all of these.
    """
    seen: set[str] = set()
    rows = []
    known = runs["train_seconds"].notna() | runs["history"].notna()
    alone = pd.Series(range(len(runs)), index=runs.index).mask(known, -1)
    keys = [runs[name] for name in ("ablation", "seed", "train_seconds", "history", "validation")]
    for _, of_one in runs.groupby([*keys, alone], sort=False, dropna=False):
        fingerprints = {str(one) for one in of_one["fingerprint"].dropna() if one}
        if not seen & fingerprints:
            rows.append(int(of_one.index[0]))
        seen |= fingerprints
    return rows


def share_test_set(points: pd.DataFrame) -> bool:
    """Whether all runs are known to be tested on the same images.  points: as `validation_and_test` gives them."""
    fingerprints = points["data_fingerprint"].unique()
    return len(fingerprints) == 1 and fingerprints[0] != "" and points["num_test"].nunique() <= 1


def plot_validation_test(axes: Axes, points: pd.DataFrame, shapes: Mapping[str, str], *, difference: bool) -> None:
    """Test Dice of every run over its validation Dice, with the line where both are equal.

    difference: instead of test Dice, by how many points it is higher.

    Runs are ink, because colours stand for arms; shapes: the marker of each ablation.
    """
    for ablation, shape in shapes.items():
        of_one = points[points["ablation"] == ablation]
        height = 100 * (of_one["test"] - of_one["validation"]) if difference else of_one["test"]
        mark: Options = {"linestyle": "none", "marker": shape, "markersize": 4.2, "markeredgewidth": 0.7}
        axes.plot(
            of_one["validation"], height, color=style.INK, markerfacecolor="none", alpha=0.8, label=ablation, **mark
        )
    if difference:
        axes.axhline(0, color=style.GREY, linewidth=0.8, zorder=1)
    else:
        both = points[["validation", "test"]].to_numpy()
        margin = max(0.05 * np.ptp(both), 0.002)
        limits = (both.min() - margin, both.max() + margin)
        axes.plot(limits, limits, color=style.GREY, linewidth=0.8, zorder=1)
        axes.set(xlim=limits, ylim=limits)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_xlabel("validation per-image Dice")
    axes.set_ylabel("test minus validation (points)" if difference else "test per-image Dice")


@style.styled()
def validation_test_picture(
    runs_of: Mapping[str, pd.DataFrame], epochs_of: Mapping[str, pd.DataFrame] | None, context: str, name: str
) -> Picture:
    """Test against validation over the runs of several ablations.  Raises LeftOutError where no run has both."""
    points = validation_and_test(runs_of, epochs_of)
    if points.empty:
        raise LeftOutError("no finished run has both validation and test Dice")
    ablations = [ablation for ablation in runs_of if (points["ablation"] == ablation).any()]
    shapes = {ablation: SHAPES[position % len(SHAPES)] for position, ablation in enumerate(ablations)}
    figure = style.new_figure(style.PAGE, HEIGHT)
    left, right = figure.subplots(1, 2)
    plot_validation_test(left, points, shapes, difference=False)
    plot_validation_test(right, points, shapes, difference=True)
    style.add_handles(figure, [style.shape_handle(shape) for shape in shapes.values()], ablations)
    gap = 100 * (points["test"] - points["validation"])
    sentences = [
        "Test against validation Dice of all finished runs, a marker a run, a shape an ablation; of runs that share "
        "a training the first counts alone.",
        f"Both at threshold 0.5, validation after {tested_epoch(points)}; line: both equal; right: their difference.",
        f"n = {plural(len(points), 'run')} of {join(ablations)}; no interval is drawn.",
        "All runs share one test set." if share_test_set(points) else "Not all runs are known to share one test set.",
        f"Test minus validation: {gap.mean():+.2f} points on average"
        + (f", standard deviation {gap.std(ddof=1):.2f}{rank_correlation(points)}." if len(points) > 2 else "."),
        f"{context}.",
    ]
    return finish(name, "Test against validation Dice", figure, sentences)


def rank_correlation(points: pd.DataFrame) -> str:
    """How far both agree on the order of the runs, as a clause; empty where too few arms differ in either."""
    means = points.groupby(["ablation", "arm"])[["validation", "test"]].mean()
    if len(means) < LEAST_CORRELATED or means.nunique().min() < 2:
        return ""
    return f"; rank correlation {points['validation'].corr(points['test'], method='spearman'):.2f}"


def tested_epoch(points: pd.DataFrame) -> str:
    """Of which epoch the validation Dice is."""
    best = "the best epoch, whose weights are tested"
    without = len(points) - int(points["is_best"].sum())
    if without in (0, len(points)):
        return "the last epoch" if without else best
    return f"{best} (after the last for {plural(without, 'run')} without epochs)"
