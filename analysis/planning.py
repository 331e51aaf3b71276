"""Before a run: what its seeds can show of each hypothesis, from the spread of finished runs or an assumed one."""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.definition import Definition, Hypothesis
from analysis.metrics import Metric, metric_of
from analysis.pairing import advantages, margin_of, usable_values
from analysis.rounding import choose_digits, write
from analysis.sentences import RATIO_DIGITS, name_seeds
from analysis.statistics import POWER, Array, rounding_spread
from analysis.verdicts import WITHOUT_NOISE

# Standard deviation over seeds of the paired difference of a Dice or IoU, in points.  The three rates of
# docs/results/lr_sweep-pets64.md have 0.08 to 0.20, 0.14 pooled; from so few seeds it may well be half as large again.
ASSUMED_SPREAD = 0.2


@dataclass(frozen=True)
class Outlook:
    """What a number of seeds can show of a hypothesis; None where that is not known.

    spread: standard deviation over seeds of the paired difference, in the metric's unit; of a ratio that of its
    logarithm.  half_width: of the deciding interval, as is to be expected, on the same scale.  smallest: the smallest
    true advantage (of a ratio how many times) that is shown to exceed the margin in 80 of 100 cases.  seeds_needed: at
    which the half-width reaches the margin; MAX_SEEDS + 1 stands for more.  sentence: a warning where not decidable.
    """

    number: int
    hypothesis: Hypothesis
    metric: Metric
    spread: float | None
    spread_source: str
    num_seeds: int
    half_width: float | None
    smallest: float | None
    seeds_needed: int | None
    decidable: bool
    sentence: str


def outlook(definition: Definition, num_seeds: int, runs: pd.DataFrame) -> list[Outlook]:
    """The outlook of each hypothesis with this many seeds.

    runs: as for judge(), and none is fine too; those that are finished give the spread.
    """
    level = statistics.verdict_level(len(definition.hypotheses))
    return [
        look_ahead(number, hypothesis, num_seeds, runs, level)
        for number, hypothesis in enumerate(definition.hypotheses, start=1)
    ]


def look_ahead(number: int, hypothesis: Hypothesis, num_seeds: int, runs: pd.DataFrame, level: float) -> Outlook:
    """The outlook of one hypothesis."""
    metric = metric_of(hypothesis.metric)
    margin = margin_of(hypothesis, metric)
    spread, source = find_spread(hypothesis, metric, runs)
    half = smallest = needed = None
    if spread is not None:
        needed = int(statistics.seeds_for(spread, margin, level)) if margin > 0 else None
    if spread is not None and num_seeds > 1:
        half = float(statistics.half_width(spread, num_seeds, level))
        smallest = statistics.smallest_difference(spread, num_seeds, margin, level)
        smallest = float(np.exp(smallest)) if hypothesis.ratio else smallest
    found = Outlook(
        number=number,
        hypothesis=hypothesis,
        metric=metric,
        spread=spread,
        spread_source=source,
        num_seeds=num_seeds,
        half_width=half,
        smallest=smallest,
        seeds_needed=needed,
        decidable=is_decidable(hypothesis, num_seeds, half, margin),
        sentence="",
    )
    return replace(found, sentence=describe(found, margin, level))


def is_decidable(hypothesis: Hypothesis, num_seeds: int, half_width: float | None, margin: float) -> bool:
    """Whether nothing is known that keeps these seeds from settling the claim, whatever the difference.

    Without a margin only equality can never be shown.
    """
    if num_seeds < 2 or (hypothesis.same and margin == 0):
        return False
    return half_width is None or margin == 0 or half_width <= margin


def find_spread(hypothesis: Hypothesis, metric: Metric, runs: pd.DataFrame) -> tuple[float | None, str]:
    """The standard deviation of the paired difference, and where it is from.

    From the finished runs of these two arms, else pooled over all other pairs of arms, else assumed.  It is never less
    than rounding makes it, and a spread of 0 is not believed.
    """
    if metric.key in WITHOUT_NOISE:
        return 0.0, "the same for every seed"
    own = paired_differences(hypothesis, metric, runs, hypothesis.first, hypothesis.second)
    others = [
        paired_differences(hypothesis, metric, runs, first, second)
        for first, second in combinations(dict.fromkeys(runs.get("arm", ())), 2)
    ]
    for pairs, whose in (([own], ""), (others, " of all arms")):
        counted = [differences for differences in pairs if len(differences) > 1]
        least = 0.0 if hypothesis.ratio else rounding_spread(metric.step * metric.scale)
        spread = max(pool(counted), least) if counted else 0.0
        if spread > 0:
            return spread, f"from {sum(map(len, counted))} pairs of finished runs{whose}"
    if metric.unit == "points" and metric.better == "higher" and not hypothesis.ratio:
        return ASSUMED_SPREAD, "assumed"
    return None, "not known"


def paired_differences(hypothesis: Hypothesis, metric: Metric, runs: pd.DataFrame, first: str, second: str) -> Array:
    """The differences between any two arms, on the scale on which the hypothesis is decided."""
    if not {"arm", "state"} <= set(runs):
        return np.empty(0)
    values, others = (usable_values(arm, metric, runs) for arm in (first, second))
    pairs = [(values[seed], others[seed]) for seed in sorted(values.keys() & others.keys())]
    if hypothesis.ratio:
        pairs = [pair for pair in pairs if min(pair) > 0]
    return advantages(hypothesis, metric, np.array(pairs, dtype=float).reshape(-1, 2))


def pool(samples: list[Array]) -> float:
    """One standard deviation from several samples, each about its own mean; 0 where there are none."""
    freedom = sum(len(sample) - 1 for sample in samples)
    squares = sum(float(sample.var(ddof=1)) * (len(sample) - 1) for sample in samples if np.ptp(sample) > 0)
    return float(np.sqrt(squares / freedom)) if freedom else 0.0


def describe(found: Outlook, margin: float, level: float) -> str:
    """What these seeds can show, as a sentence."""
    hypothesis = found.hypothesis
    subject = f"Hypothesis {found.number} ({hypothesis.first} against {hypothesis.second}, {found.metric.phrase}): "
    seeds = f"{found.num_seeds} seed{'s' * (found.num_seeds != 1)}"
    aim = f"a ratio of {1 + hypothesis.margin:g}" if hypothesis.ratio else f"a margin of {margin:g}"
    enough = f"; {name_seeds((found.seeds_needed,) * 2)} would do" if found.seeds_needed is not None else ""
    if found.num_seeds < 2:
        return f"{subject}one seed decides nothing{enough or '; two are the least'}."
    if hypothesis.same and margin == 0:
        return f"{subject}equality cannot be shown without a margin; declare one."
    if found.spread is None or found.half_width is None:
        return f"{subject}what {seeds} can show is not known before runs of two arms have finished."
    if found.spread == 0:
        return f"{subject}{found.spread_source}, so any difference above {aim} shows."
    shown = f"{reach(found, margin, level)} ({evidence(found)})"
    if not found.decidable:
        return f"{subject}{seeds} cannot settle {aim}; {shown}{enough}."
    return f"{subject}{seeds} can settle {aim}; {shown}." if margin > 0 else f"{subject}with {seeds}, {shown}."


def evidence(found: Outlook) -> str:
    """The interval that is to be expected, and the spread that it rests on."""
    assert found.half_width is not None and found.spread is not None
    if found.hypothesis.ratio:
        factor, spread = write(float(np.exp(found.half_width)), RATIO_DIGITS), f"{100 * found.spread:.2g} %"
        return f"interval up to {factor} times either way at a spread of {spread}, {found.spread_source}"
    half, spread = with_unit(found.half_width, found), with_unit(found.spread, found)
    return f"interval of about {half} either way at a spread of {spread}, {found.spread_source}"


def reach(found: Outlook, margin: float, level: float) -> str:
    """What is shown in most cases: an advantage of this size, or equality where the claim is that."""
    assert found.smallest is not None and found.spread is not None
    if found.hypothesis.same:
        chance = statistics.power_to_equate(0.0, found.spread, found.num_seeds, margin, level)
        return f"where the arms are the same, that is shown in {100 * chance:.0f} of 100 cases"
    size = write(found.smallest, RATIO_DIGITS) if found.hypothesis.ratio else with_unit(found.smallest, found)
    kind = "a ratio" if found.hypothesis.ratio else "an advantage"
    return f"{kind} of {size} or more is shown in {100 * POWER:.0f} of 100 cases"


def with_unit(value: float, found: Outlook) -> str:
    """A difference with its unit."""
    digits = choose_digits(2 * value, found.metric.digits)
    return f"{write(value, digits)} {found.metric.unit}".rstrip()
