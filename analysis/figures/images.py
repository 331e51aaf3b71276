"""Single images: the threshold curve, the distribution of Dice over test images, and sheets of predictions."""

import io
from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from analysis.figures import style
from analysis.figures.output import LeftOutError, Picture, Subject, finished, of_runs, seeds_sentence
from analysis.figures.style import Look, Options
from analysis.numbers import plural

REPORTED_THRESHOLD = 0.4
HEIGHT = 2.1  # inches, without the legend
# The axis of per-image Dice is linear in the logarithm of 1 - Dice, which spreads the good images; this keeps 1 on it.
FLOOR = 0.01
DICE_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 1.0)
IN_BOXES = 0.998  # of an arm's images: the rest are drawn one by one


def plot_thresholds(
    axes: Axes, curves: pd.DataFrame, runs: pd.DataFrame, looks: Mapping[str, Look], reported: float | None
) -> None:
    """Validation Dice over the threshold: the mean an arm, thin lines the seeds, markers the thresholds in use.

    curves: arm, seed, threshold, dice_per_image.  runs: arm, seed, state, threshold.  reported: the threshold of the
    original report, None where the ablation is not one of its.
    """
    chosen = finished(runs, looks).dropna(subset="threshold").set_index(["arm", "seed"])["threshold"]
    for arm, one in looks.items():
        of_arm = curves[curves["arm"] == arm].sort_values("threshold")
        for seed, run in of_arm.groupby("seed"):
            thin: Options = {"linewidth": style.SEED_WIDTH, "alpha": style.seed_alpha(of_arm["seed"].nunique())}
            axes.plot(run["threshold"], run["dice_per_image"], color=one.colour, **thin)
            if (arm, seed) in chosen.index:
                threshold = chosen.loc[arm, seed]
                dice = np.interp(threshold, run["threshold"], run["dice_per_image"])
                mark: Options = {
                    "marker": one.marker,
                    "markersize": 4.5,
                    "markeredgecolor": "white",
                    "markeredgewidth": 0.4,
                }
                axes.plot([threshold], [dice], color=one.colour, zorder=4, **mark)
        mean = of_arm.groupby("threshold")["dice_per_image"].mean()
        axes.plot(mean.index, mean, color=one.colour, linestyle=one.line, linewidth=style.MEAN_WIDTH, label=arm)
    if reported is not None:
        axes.axvline(reported, color=style.INK, linewidth=0.7, zorder=1)
        axes.annotate(
            f"report's {reported}",
            (reported, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
        )
    axes.set_xlim(0, 1)
    axes.set_xlabel("threshold of the predicted probability")
    axes.set_ylabel("validation per-image Dice")


@style.styled()
def threshold_picture(subject: Subject, curves: pd.DataFrame, name: str) -> Picture:
    """The threshold curves.  Raises LeftOutError where no finished run has one."""
    shown = of_finished(curves, subject, "a threshold curve", "dice_per_image")
    figure = style.new_figure(style.COLUMN, HEIGHT)
    reported = None if subject.definition.section is None else REPORTED_THRESHOLD
    plot_thresholds(figure.subplots(), shown, subject.runs, subject.looks, reported)
    style.add_legend(figure, subject.looks)
    sentences = [
        "Validation Dice over the threshold.",
        "Thick lines: mean over the finished runs; thin lines: single runs; no interval is drawn.",
        "Markers: the threshold that each run chose, and was tested at"
        + (f"; vertical line: the report's {reported}." if reported is not None else "."),
        seeds_sentence(subject.runs, subject.looks, shown, "no curve"),
    ]
    return subject.picture(name, "choice of the threshold", figure, sentences)


def plot_per_image(axes: Axes, images: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """The distribution of per-image Dice, a row an arm, as letter-value boxes (Hofmann et al. 2017).

    Boxes hold the middle half, 3/4, 7/8 ... of the images, so that the tail towards 0 is seen as well as the median; a
    violin smooths the tail away, and an ordinary box turns hundreds of images into outliers.  The axis is stretched
    towards 1, where most images are.  images: arm, dice; every seed's images together.
    """
    axes.set_xscale("function", functions=(stretch, unstretch))
    sns.boxenplot(
        data=images.assign(arm=pd.Categorical(images["arm"], list(looks))),
        x="dice",
        y="arm",
        hue="arm",
        palette={arm: one.colour for arm, one in looks.items()},
        dodge=False,
        saturation=1.0,
        width=0.75,
        linewidth=0.4,
        outlier_prop=1 - IN_BOXES,
        k_depth="proportion",
        flier_kws={"s": 2, "linewidths": 0.3},
        line_kws={"linewidth": 1.3, "color": style.INK},
        legend=False,
        ax=axes,
    )
    style.label_rows(axes, style.arm_names(looks))
    axes.set_xlim(-0.02, 1.0)
    axes.xaxis.set_major_locator(FixedLocator(list(DICE_TICKS)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("test Dice of an image (stretched towards 1)")
    axes.set_ylabel("")


def stretch(dice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dice to its place along the axis."""
    place: NDArray[np.float64] = -np.log(np.maximum(1 + FLOOR - np.asarray(dice, dtype=float), 1e-9))
    return place


def unstretch(place: NDArray[np.float64]) -> NDArray[np.float64]:
    """A place along the axis to the Dice there."""
    dice: NDArray[np.float64] = 1 + FLOOR - np.exp(-np.asarray(place, dtype=float))
    return dice


@style.styled()
def per_image_picture(subject: Subject, images: pd.DataFrame, name: str) -> Picture:
    """The distribution of per-image Dice.  Raises LeftOutError where no finished run has a table of test images."""
    shown = of_finished(images, subject, "a table of its test images", "dice")
    figure = style.new_figure(style.COLUMN, style.rows_height(style.arm_names(subject.looks), least=0.34) + 0.5)
    plot_per_image(figure.subplots(), shown, subject.looks)
    sizes = shown.groupby(["arm", "seed"]).size()
    fewest, most = int(sizes.min()), int(sizes.max())
    images_a_run = ("" if fewest == most else f"{fewest:,} to ") + plural(most, "test image")
    sentences = [
        "Distribution of the Dice of single test images.",
        "Line: median; boxes: the middle half, three quarters, seven eighths and so on; dots: the outermost "
        f"{100 * (1 - IN_BOXES):.1f} % of the images.",
        f"{images_a_run}, all seeds together; no interval is drawn.",
        seeds_sentence(subject.runs, subject.looks, shown, "no table"),
    ]
    return subject.picture(name, "test Dice of single images", figure, sentences)


def of_finished(frame: pd.DataFrame, subject: Subject, what: str, column: str) -> pd.DataFrame:
    """The rows of finished runs of the definition's arms with a value in the column.

    Raises LeftOutError, which names what it is, where there are none.
    """
    shown = frame[of_runs(frame, finished(subject.runs, subject.looks))]
    shown = shown if shown.empty else shown.dropna(subset=column)
    if shown.empty:
        raise LeftOutError(f"no finished run has {what}")
    return shown


@style.styled()
def sheet_picture(subject: Subject, png: bytes | None, label: str, what: str, name: str) -> Picture:
    """A stored sheet of predictions.  label: the arm and seed that it is of.  Raises LeftOutError without a picture."""
    if not png:
        raise LeftOutError(
            f"the run of {label} has kept no such sheet"
            if label
            else "no run that it could show has finished with a test Dice"
        )
    try:
        sheet = Image.open(io.BytesIO(png)).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise LeftOutError("the stored sheet is not a picture that can be read") from error
    figure = style.new_figure(style.PAGE, style.PAGE * sheet.height / sheet.width)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(np.asarray(sheet), interpolation="antialiased", aspect="auto")
    of_what = f"{what[0].upper()}{what[1:]}" + (f" of {label}." if label else ".")
    sentences = [of_what, "Image, truth, prediction at the run's threshold, and errors; n = 1 run, no interval."]
    return subject.picture(name, what, figure, sentences)
