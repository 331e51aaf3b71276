"""How much paired differences vary over seeds: as finished runs tell, or as is assumed before there are any."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from analysis.definition import Hypothesis
from analysis.metrics import Metric
from analysis.notes import WITHOUT_NOISE
from analysis.pairing import advantages, differing_machines, has_same_differences, least_spread, usable_values
from analysis.statistics import Array

# Standard deviations over seeds of paired differences, each about 1.5 times what the three learning rates of
# docs/results/lr_sweep-pets64.md have, pooled (0.14 points, 1.2 epochs, 0.007, 0.52 points): from so few seeds it may
# well be half as large again.  In the metric's unit; Dice and IoU in points.
ASSUMED_POINTS = 0.2
ASSUMED_DIFFERENCES = {"epochs_to_90": 2.0, "train/loss": 0.01, "val/loss": 0.01, "val/dice_variation": 0.75}
# Of logarithms of ratios.  Times are those of an idle machine: runs of one arm alone vary by 3 % there.
ASSUMED_POINTS_RATIO = 0.0025
ASSUMED_RATIOS = {
    "epochs_to_90": 0.5,
    "train/loss": 0.02,
    "val/loss": 0.02,
    "val/dice_variation": 0.7,
    "train_seconds": 0.05,
    "epoch_seconds": 0.05,
    "images_per_second": 0.05,
    "peak_memory_gib": 0.05,
}


@dataclass(frozen=True)
class Spread:
    """A standard deviation of paired differences, on the scale on which they are decided; None where nothing tells.

    source: where it is from, as words.  freedom: its degrees of freedom; 0 where it is from no runs.
    """

    value: float | None
    source: str
    freedom: int = 0


def find_spread(hypothesis: Hypothesis, metric: Metric, runs: pd.DataFrame) -> Spread:
    """From the finished runs of these two arms, else pooled over all other pairs of arms, else assumed.

    It is never less than rounding makes it, and a spread of 0 is not believed.
    """
    if metric.key in WITHOUT_NOISE:
        return Spread(0.0, "the same for every seed")
    arms = list(dict.fromkeys(runs.get("arm", ())))
    own = [(hypothesis.first, hypothesis.second)]
    for pairs_of_arms, whose in ((own, ""), (list(combinations(arms, 2)), " of all arms")):
        samples = {arms: paired_values(hypothesis, metric, runs, arms) for arms in pairs_of_arms}
        samples = {arms: values for arms, values in samples.items() if tells_spread(hypothesis, metric, values)}
        spread = pool(hypothesis, metric, list(samples.values()))
        if spread > 0:
            number = sum(map(len, samples.values()))
            source = f"from {number} pairs of finished runs{whose}"
            return Spread(spread, source, count_freedom(samples))
    return assume_spread(hypothesis, metric)


def assume_spread(hypothesis: Hypothesis, metric: Metric) -> Spread:
    """What is assumed where no runs tell; nothing of times and memory but that they vary in proportion."""
    is_score = metric.unit == "points" and metric.better == "higher"
    if hypothesis.ratio:
        value = ASSUMED_POINTS_RATIO if is_score else ASSUMED_RATIOS.get(metric.key)
    else:
        value = ASSUMED_POINTS if is_score else ASSUMED_DIFFERENCES.get(metric.key)
    return Spread(value, "not known" if value is None else "assumed")


def paired_values(hypothesis: Hypothesis, metric: Metric, runs: pd.DataFrame, arms: tuple[str, str]) -> Array:
    """The values of any two arms on the seeds on which they can be compared, (num_seeds, 2), as stored."""
    if not {"arm", "state"} <= set(runs):
        return np.empty((0, 2))
    first, second = (usable_values(arm, metric, runs) for arm in arms)
    seeds = sorted(first.keys() & second.keys())
    unlike = differing_machines(arms, metric, runs, seeds)
    pairs = [(first[seed], second[seed]) for seed in seeds if seed not in unlike]
    if hypothesis.ratio:
        pairs = [pair for pair in pairs if min(pair) > 0]
    return np.array(pairs, dtype=float).reshape(-1, 2)


def tells_spread(hypothesis: Hypothesis, metric: Metric, values: Array) -> bool:
    """Whether pairs of values say anything of a spread: two at least, whose differences are not all the same unless
    rounding makes them so."""
    if len(values) < 2:
        return False
    return not has_same_differences(hypothesis, metric, values) or least_spread(hypothesis, metric, values) > 0


def pool(hypothesis: Hypothesis, metric: Metric, samples: list[Array]) -> float:
    """One standard deviation from the pairs of several comparisons, each about its own mean; 0 where there are none."""
    if not samples:
        return 0.0
    differences = [advantages(hypothesis, metric, values) for values in samples]
    squares = sum(
        float(of_pair.var(ddof=1)) * (len(of_pair) - 1)
        for of_pair, values in zip(differences, samples, strict=True)
        if not has_same_differences(hypothesis, metric, values)
    )
    spread = float(np.sqrt(squares / sum(len(of_pair) - 1 for of_pair in differences)))
    return max(spread, least_spread(hypothesis, metric, np.concatenate(samples)))


def count_freedom(samples: dict[tuple[str, str], Array]) -> int:
    """Degrees of freedom of a pooled spread: k arms have k (k - 1) / 2 pairs, of which only k - 1 are independent."""
    num_arms = len({arm for arms in samples for arm in arms})
    return max(1, round(sum(len(values) - 1 for values in samples.values()) * 2 / num_arms))
