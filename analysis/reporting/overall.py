"""Claim 3.6, that test follows validation: correlation and mean difference over the arms of all ablations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.numbers import NONE, interval, number, plural, signed
from analysis.reporting.material import Material
from analysis.reporting.model import OVERALL, VERDICTS, Claim
from analysis.reporting.trainings import NOT_RECORDED
from analysis.rounding import write_numbers
from analysis.statistics import LEAST_CORRELATED, SHOWN_LEVEL, paired_interval

SECTION = "3.6"
CLAIM = "The test set follows the validation images"
JUDGED_AS = "correlation over arms above 0.5"
FOLLOWS = 0.5  # from here on validation explains a quarter of what varies on the test set
DIGITS = 3
LIMITS = (0.0, 0.0, FOLLOWS)  # that may not look passed where they are not
RULE = (
    f"That the test set follows the validation images (report {SECTION}) is one claim over all ablations, judged by "
    "the correlation of validation Dice (best epoch) and test Dice, both at threshold 0.5. Its units are arms, each "
    "the mean of its trainings, because the trainings of one arm are not independent; a training that several arms "
    "share counts once, and these arms as one. The claim is supported where the 95 % interval (Fisher) is wholly above "
    f"{FOLLOWS}, from where on validation explains a quarter of the variance of test; reversed where it is wholly "
    f"below 0; and otherwise inconclusive, as with fewer than {LEAST_CORRELATED} arms, and with runs on different data "
    "or at different image sizes, since such a difference alone would make a correlation."
)


@dataclass(frozen=True)
class Following:
    """What became of the claim.  correlation, limits: None where they cannot be told."""

    verdict: str
    num_arms: int
    correlation: float | None
    limits: tuple[float, float] | None
    sentence: str


def means_of_arms(trainings: pd.DataFrame) -> pd.DataFrame:
    """Mean validation and test Dice of each unit: an arm, or arms that share trainings.  Index: unit."""
    return trainings.groupby("unit", sort=False)[["validation", "test"]].mean()


def judge_following(trainings: pd.DataFrame) -> Following:
    """The verdict by RULE.  trainings: a row a training, with columns unit, validation, test, data."""
    means = means_of_arms(trainings)
    problem = find_problem(trainings, means)
    if problem:
        sentence = f"Whether the test set follows the validation images is inconclusive, because {problem}."
        return Following("inconclusive", len(means), None, None, sentence)
    correlation, low, high = correlate(means)
    verdict = "supported" if low > FOLLOWS else "reversed" if high < 0 else "inconclusive"
    where = {
        "supported": f"wholly above {FOLLOWS}",
        "reversed": "wholly below 0",
        "inconclusive": f"not wholly above {FOLLOWS}, nor below 0",
    }
    value, *bounds = write_numbers((correlation, low, high), LIMITS, DIGITS)
    sentence = (
        f"Over {plural(len(means), 'arm')} ({plural(len(trainings), 'training')}) the correlation of test and "
        f"validation Dice is {value} (95 % interval {' to '.join(bounds)}, {where[verdict]}): {verdict}."
    )
    return Following(verdict, len(means), correlation, (low, high), sentence)


def find_problem(trainings: pd.DataFrame, means: pd.DataFrame) -> str:
    """Why no correlation can be told: a clause, or "" where it can."""
    num_unknown = int((trainings["data"] == NOT_RECORDED).sum())
    num_data = trainings["data"].nunique() - (num_unknown > 0)
    if num_data > 1:
        what = "(content, split, border rule or image size)"
        return f"the runs are on {num_data} kinds of data {what}, whose difference alone would make a correlation"
    if num_data and num_unknown:
        unknown = plural(num_unknown, "training")
        return f"the data of {unknown} was not recorded, and a difference of data alone would make a correlation"
    if len(means) < LEAST_CORRELATED or means["validation"].nunique() < 2 or means["test"].nunique() < 2:
        verb = "is" if len(means) == 1 else "are"
        return f"it takes {LEAST_CORRELATED} arms that differ, and there {verb} {len(means)}"
    return ""


def correlate(means: pd.DataFrame) -> tuple[float, float, float]:
    """Pearson's correlation and its interval: normal after Fisher's transformation, with standard error 1/sqrt(n-3)."""
    correlation = float(np.corrcoef(means["validation"], means["test"])[0, 1])
    reach = stats.norm.isf((1 - SHOWN_LEVEL) / 2) / np.sqrt(len(means) - 3)
    centre = np.arctanh(np.clip(correlation, -1 + 1e-12, 1 - 1e-12))
    return correlation, float(np.tanh(centre - reach)), float(np.tanh(centre + reach))


def overall_claims(materials: Sequence[Material], trainings: pd.DataFrame) -> tuple[Claim, ...]:
    """The claim as a row among the others; none in the report of one ablation that is about something else."""
    if len(materials) == 1 and materials[0].results.definition.section != SECTION:
        return ()
    found = judge_following(trainings)
    numbers: Sequence[str] = (NONE, NONE, NONE)
    if found.correlation is not None and found.limits is not None:
        numbers = write_numbers((found.correlation, *found.limits), LIMITS, DIGITS)
    return (
        Claim(
            place=SECTION,
            anchor=OVERALL,
            claim=CLAIM,
            verdict=found.verdict,
            sign=VERDICTS[found.verdict],
            arms=JUDGED_AS,
            estimate=f"correlation {numbers[0]}" if found.correlation is not None else NONE,
            interval=f"{numbers[1]} to {numbers[2]}" if found.limits is not None else NONE,
            extent=plural(found.num_arms, "arm"),
            evidence=(),
            sentence=found.sentence,
            notes=(),
        ),
    )


def describe_overall(trainings: pd.DataFrame) -> tuple[str, ...]:
    """Whether test follows validation, in numbers, and what the numbers cannot say.

    trainings: a row a training, with columns ablation, unit, validation, test, data.
    """
    found = judge_following(trainings)
    if found.correlation is None:
        return (found.sentence,)
    means = means_of_arms(trainings)
    gaps = 100 * (means["test"] - means["validation"]).to_numpy(dtype=np.float64)
    low, high = paired_interval(gaps, SHOWN_LEVEL)
    data = trainings["data"].unique()
    same_test_set = len(data) == 1 and data[0] != NOT_RECORDED
    return (
        found.sentence,
        f"Test minus validation is {signed(float(gaps.mean()), 2)} points on average over the arms (95 % interval "
        f"{interval(float(low), float(high), 2)}).",
        *describe_within(trainings),
        "Both are mean per-image Dice at threshold 0.5; validation is that of the best epoch, which that very number "
        "chose. An arm counts by the mean of its trainings, and arms that share a "
        "training count as one.",
        *(
            ["All runs share one test set: nothing here says how they would do on another."]
            if same_test_set
            else ["Whether all runs share one test set was not recorded."]
        ),
    )


def describe_within(trainings: pd.DataFrame) -> tuple[str, ...]:
    """The correlation inside of ablations, because differences between ablations alone can make a high one."""
    if trainings["ablation"].nunique() < 2:
        return ()
    columns = trainings[["validation", "test"]]
    centred = columns - columns.groupby(trainings["ablation"]).transform("mean")
    if (centred.abs().max() < 1e-12).any():
        return ()
    within = float(np.corrcoef(centred["validation"], centred["test"])[0, 1])
    return (f"Within ablations, the mean of each subtracted, the correlation over trainings is {number(within, 3)}.",)
