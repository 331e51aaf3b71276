"""Dice by breed: which animals are hard, and for which arm."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.figures.images import of_finished
from analysis.figures.output import LeftOutError, Picture, Subject, seeds_sentence
from analysis.figures.style import Look, Options

MOST_BREEDS = 40  # more rows do not fit a page; then the hardest and the easiest are shown
ROW = 0.17  # inches a line of a name
NAME_WIDTH = 40
ARMS_HEIGHT = 0.56  # of a row's height, over which the arms are spread


def breed_means(images: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice of every breed, arm and seed: breed, arm, seed, dice."""
    return images.groupby(["breed", "arm", "seed"])["dice"].mean().reset_index()


def breed_order(means: pd.DataFrame) -> list[str]:
    """The breeds from the easiest to the hardest, by the mean over arms of the mean over seeds."""
    by_arm = means.groupby(["breed", "arm"])["dice"].mean()
    by_breed = by_arm.groupby("breed").mean().sort_index().sort_values(ascending=False, kind="stable")
    return [str(breed) for breed in by_breed.index]


def shown_breeds(order: list[str]) -> tuple[list[str | None], int]:
    """The rows, None where breeds between the easiest and the hardest are left out, and how many are."""
    left_out = len(order) - MOST_BREEDS
    if left_out <= 0:
        return list(order), 0
    half = MOST_BREEDS // 2
    return [*order[:half], None, *order[-half:]], left_out


def plot_breeds(axes: Axes, images: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Mean Dice by breed, the hardest at the bottom: a marker an arm, and the range over its seeds as a line.

    images: arm, seed, breed, dice, name.  Behind a breed stands the number of its test images.
    """
    means = breed_means(images)
    rows, left_out = shown_breeds(breed_order(means))
    num_images = images.groupby("breed")["name"].nunique()
    summary = means.groupby(["breed", "arm"])["dice"].agg(["mean", "min", "max"])
    for row in range(0, len(rows), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#F5F5F5", linewidth=0, zorder=0)
    for position, (arm, one) in enumerate(looks.items()):
        offset = ARMS_HEIGHT * ((position + 0.5) / len(looks) - 0.5)
        of_arm = summary.xs(arm, level="arm") if arm in summary.index.get_level_values("arm") else summary.iloc[:0]
        known = {breed: row + offset for row, breed in enumerate(rows) if breed is not None and breed in of_arm.index}
        here = of_arm.loc[list(known)]
        heights = list(known.values())
        axes.hlines(heights, here["min"], here["max"], color=one.colour, linewidth=0.7, alpha=0.8)
        mark: Options = {"linestyle": "none", "marker": one.marker, "color": one.colour, "markersize": 3.4}
        axes.plot(here["mean"], heights, markeredgecolor="white", markeredgewidth=0.2, label=arm, **mark)
    between = f"… {left_out} breeds between …"
    names = [between if breed is None else f"{breed} ({num_images[breed]})" for breed in rows]
    style.label_rows(axes, [style.wrap(name, NAME_WIDTH) for name in names])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_xlabel("test per-image Dice")


@style.styled()
def breeds_picture(subject: Subject, images: pd.DataFrame, name: str) -> Picture:
    """Dice by breed.  Raises LeftOutError where fewer than two breeds are known."""
    shown = of_finished(images, subject, "a table of its test images", "dice")
    num_unknown = int(shown["breed"].isna().sum())
    shown = shown.dropna(subset="breed")
    shown = shown.assign(breed=shown["breed"].astype(str))
    num_breeds = shown["breed"].nunique()
    if num_breeds < 2:
        raise LeftOutError(
            "the breeds of the test images are not known" if num_breeds == 0 else "there is only one breed"
        )
    num_rows = min(num_breeds, MOST_BREEDS + 1)
    num_lines = max(style.wrap(f"{breed} (9999)", NAME_WIDTH).count("\n") + 1 for breed in shown["breed"].unique())
    figure = style.new_figure(style.COLUMN, ROW * num_rows * num_lines + 0.5)
    plot_breeds(figure.subplots(), shown, subject.looks)
    style.add_legend(figure, subject.looks, lines=False)
    sentences = [
        "Mean test Dice by breed, the hardest at the bottom, with the number of its test images.",
        "Markers: mean over the seeds; lines: from the lowest seed to the highest (no interval).",
        f"{num_unknown:,} rows without a breed are left out." if num_unknown else "",
        seeds_sentence(subject.runs, subject.looks, shown, "no table with breeds"),
    ]
    return subject.picture(name, "test Dice by breed", figure, sentences)
