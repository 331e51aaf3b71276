"""The uncertainty over test images, shown apart from the one over seeds: bootstraps of claims on per-image overlap."""

import numpy as np
import pandas as pd

from analysis.numbers import NONE, flat, interval, number, signed
from analysis.reporting.material import Material
from analysis.reporting.model import Column, Table
from analysis.statistics import SHOWN_LEVEL, bootstrap_over_images, bootstrap_over_seeds_and_images
from analysis.verdicts import Verdict

# The claims' metrics that are means over test images, and the column that holds an image's value.
PER_IMAGE = {"test/dice_per_image": "dice", "test/iou_per_image": "iou"}
FIRST_SEED = 0  # of the resampling, so that the same runs give the same intervals


def images_table(material: Material) -> Table | None:
    """A row for each claim on a mean over test images; None where no claim is, or where no run has its images."""
    rows = [row for verdict in material.verdicts if (row := images_row(verdict, material.images)) is not None]
    if not rows:
        return None
    columns = (
        Column("claim"),
        Column("mean advantage", True),
        Column("over seeds", True),
        Column("over images", True),
        Column("over both", True),
        Column("images", True),
    )
    caption = (
        "95 % intervals of the mean advantage, in points. Over seeds: paired t interval, as in the claims. Over "
        "images: bootstrap over the test images with the trained networks as they are. Over both: bootstrap over "
        "seeds and images, which few seeds make too narrow. Verdicts use the first alone."
    )
    return Table(f"{material.stem}_images", caption, columns, tuple(rows))


def images_row(verdict: Verdict, images: pd.DataFrame) -> tuple[str, ...] | None:
    """One claim; None where it is not about a mean over images or where images are missing."""
    column = PER_IMAGE.get(verdict.hypothesis.metric)
    if column is None or verdict.hypothesis.ratio or not verdict.seeds:
        return None
    differences_SI = differences_of_images(verdict, images, column)
    if differences_SI is None:
        return None
    digits = verdict.metric.digits
    intervals = [
        resample(differences_SI, SHOWN_LEVEL, np.random.default_rng(FIRST_SEED))
        for resample in (bootstrap_over_images, bootstrap_over_seeds_and_images)
    ]
    over_images, over_both = (interval(low, high, digits) for low, high in intervals)
    is_one_seed = len(verdict.seeds) < 2
    return (
        flat(verdict.hypothesis.claim),
        signed(float(differences_SI.mean()), digits),
        interval(*verdict.interval, digits) if verdict.interval else NONE,
        over_images,
        NONE if is_one_seed else over_both,
        number(differences_SI.shape[1], 0),
    )


def differences_of_images(verdict: Verdict, images: pd.DataFrame, column: str) -> np.ndarray | None:
    """First arm minus second for each common seed and image, in points; None where a run has no images."""
    first, second = (
        images[images["arm"] == arm].pivot_table(index="seed", columns="name", values=column)
        for arm in (verdict.hypothesis.first, verdict.hypothesis.second)
    )
    seeds = [seed for seed in verdict.seeds if seed in first.index and seed in second.index]
    difference = (first.reindex(seeds) - second.reindex(seeds)).dropna(axis=1)
    if len(seeds) < len(verdict.seeds) or difference.empty:
        return None
    return verdict.metric.scale * verdict.metric.sign * difference.to_numpy(dtype=np.float64)
