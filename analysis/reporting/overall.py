"""Claim 3.6, that test follows validation: correlation and mean difference over the runs of all ablations."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from analysis.figures import validation_and_test
from analysis.reporting.material import Material
from analysis.reporting.numbers import interval, number, plural, signed
from analysis.statistics import SHOWN_LEVEL, paired_interval

LEAST_RUNS = 4  # below, a correlation has no interval


def validation_and_test_of(materials: Sequence[Material]) -> pd.DataFrame:
    """Validation Dice of the best epoch and test Dice of every finished run, each training once."""
    return validation_and_test(
        {material.results.definition.title: material.results.runs for material in materials},
        {material.results.definition.title: material.results.epochs for material in materials},
    )


def describe_overall(points: pd.DataFrame) -> tuple[str, ...]:
    """Whether test follows validation, in numbers, and what the numbers cannot say.

    points: a row a run, with columns ablation, validation, test.
    """
    if len(points) < LEAST_RUNS or points["validation"].nunique() < 2 or points["test"].nunique() < 2:
        return (
            f"Whether the test set follows the validation images takes {LEAST_RUNS} finished runs that differ; there "
            f"{'is' if len(points) == 1 else 'are'} {len(points)}.",
        )
    found = stats.pearsonr(points["validation"], points["test"])
    limits = found.confidence_interval(SHOWN_LEVEL)
    follows = "follows" if limits.low > 0 else "runs against" if limits.high < 0 else "is not shown to follow"
    gaps = 100 * (points["test"] - points["validation"]).to_numpy(dtype=np.float64)
    low, high = paired_interval(gaps, SHOWN_LEVEL)
    return (
        f"Over {plural(len(points), 'run')} the test Dice {follows} the validation Dice: correlation "
        f"{number(found.statistic, 3)} (95 % interval {interval(limits.low, limits.high, 3)}); test minus validation "
        f"is {signed(float(gaps.mean()), 2)} points on average (95 % interval "
        f"{interval(float(low), float(high), 2)}).",
        *describe_within(points),
        "Validation is the mean per-image Dice at threshold 0.5 in the best epoch, which that very number chose; "
        "test is at each run's own threshold. The intervals take runs as independent, which those of one arm are "
        "not quite. All runs share one test set: nothing here says how they would do on another.",
    )


def describe_within(points: pd.DataFrame) -> tuple[str, ...]:
    """The correlation inside of ablations, because differences between ablations alone can make a high one."""
    if points["ablation"].nunique() < 2:
        return ()
    columns = points[["validation", "test"]]
    centred = columns - columns.groupby(points["ablation"]).transform("mean")
    if (centred.abs().max() < 1e-12).any():
        return ()
    within = float(np.corrcoef(centred["validation"], centred["test"])[0, 1])
    return (f"Within ablations, the mean of each subtracted, the correlation is {number(within, 3)}.",)
