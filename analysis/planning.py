"""Before a run: what its seeds can show of each hypothesis, from the spread of finished runs or an assumed one."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.definition import Definition, Hypothesis
from analysis.metrics import Metric
from analysis.pairing import margin_of
from analysis.rounding import choose_digits, write
from analysis.sentences import RATIO_DIGITS, number_of_seeds
from analysis.spreads import Spread, find_spread
from analysis.statistics import POWER
from analysis.verdicts import Verdict, judge

MOST_POINTS = 100.0  # that two Dice or IoU can differ by


@dataclass(frozen=True)
class Outlook:
    """What the seeds that both arms will have can show of a hypothesis; None where that is not known.

    spread: standard deviation over seeds of the paired difference, in the metric's unit; of a ratio that of its
    logarithm.  num_seeds: that both arms will have.  half_width: of the deciding interval, as is to be expected, on the
    same scale.  smallest: the smallest true advantage (of a ratio how many times) that is shown to exceed the margin in
    80 of 100 cases; infinite where no difference can be as large.  seeds_needed: at which the half-width reaches the
    margin, or what the verdict of the finished runs says; MAX_SEEDS + 1 stands for more.  verdict: of the runs that
    have finished, where that is two pairs or more.  decidable: whether these seeds settle the claim as far as is known.
    sentence: a warning where not decidable.
    """

    number: int
    hypothesis: Hypothesis
    metric: Metric
    spread: float | None
    spread_source: str
    num_seeds: int
    half_width: float | None
    smallest: float | None
    seeds_needed: tuple[int, int] | None
    verdict: Verdict | None
    decidable: bool
    sentence: str

    @property
    def is_settled(self) -> bool:
        """Whether the finished runs have decided the claim."""
        return self.verdict is not None and self.verdict.verdict != "inconclusive"

    @property
    def is_final(self) -> bool:
        """Whether the verdict of the finished runs stays: settled, with no seed to come, or not to be compared."""
        verdict = self.verdict
        return verdict is not None and (self.is_settled or bool(verdict.unlike) or self.num_seeds <= len(verdict.seeds))

    @property
    def is_near(self) -> bool:
        """Whether the finished runs leave the claim open because their difference is too near the margin."""
        verdict = self.verdict
        if self.is_settled or verdict is None or verdict.seeds_needed is None or verdict.verdict_interval is None:
            return False
        margin = margin_of(self.hypothesis, self.metric)
        low, high = (math.log(end) if self.hypothesis.ratio else end for end in verdict.verdict_interval)
        return margin == 0 or (high - low) / 2 <= margin


def outlook(
    definition: Definition, seeds: Mapping[str, Collection[int]], runs: pd.DataFrame, epochs: int | None = None
) -> list[Outlook]:
    """The outlook of each hypothesis.

    seeds: of which each arm will have a finished run.  runs: as for judge(), and none is fine too; those that are
    finished give the spread, and may have settled a claim.  epochs: for which the longest run trains.
    """
    level = statistics.verdict_level(len(definition.hypotheses))
    runs = runs if {"arm", "seed", "state"} <= set(runs) else pd.DataFrame(columns=["arm", "seed", "state"])
    found = []
    for verdict in judge(definition, runs):
        first, second = verdict.hypothesis.first, verdict.hypothesis.second
        common = set(seeds.get(first, ())) & set(seeds.get(second, ()))
        absent = [arm for arm in (first, second) if not seeds.get(arm)]
        found.append(look_ahead(verdict, len(common), find_spread(verdict.hypothesis, verdict.metric, runs), epochs))
        found[-1] = replace(found[-1], sentence=describe(found[-1], absent, level))
    return found


def look_ahead(verdict: Verdict, num_seeds: int, spread: Spread, epochs: int | None) -> Outlook:
    """The outlook of one hypothesis, still without its sentence.  verdict: of the runs that have finished."""
    hypothesis, metric = verdict.hypothesis, verdict.metric
    margin = margin_of(hypothesis, metric)
    half = smallest = None
    if spread.value is not None and num_seeds > 1:
        half = float(statistics.half_width(spread.value, num_seeds, verdict.level))
        smallest = statistics.smallest_difference(spread.value, num_seeds, margin, verdict.level)
        smallest = math.inf if smallest >= largest_difference(hypothesis, metric, epochs) else smallest
        smallest = float(np.exp(smallest)) if hypothesis.ratio else smallest
    found = Outlook(
        number=verdict.number,
        hypothesis=hypothesis,
        metric=metric,
        spread=spread.value,
        spread_source=spread.source,
        num_seeds=num_seeds,
        half_width=half,
        smallest=smallest,
        seeds_needed=verdict.seeds_needed or count_seeds(spread, margin, verdict.level),
        verdict=verdict if len(verdict.seeds) > 1 or verdict.unlike else None,
        decidable=False,
        sentence="",
    )
    return replace(found, decidable=is_decidable(found, margin))


def largest_difference(hypothesis: Hypothesis, metric: Metric, epochs: int | None) -> float:
    """The largest difference that two runs can have, on the scale on which it is decided."""
    if metric.key == "epochs_to_90" and epochs:
        return math.log(epochs) if hypothesis.ratio else epochs - 1.0
    return MOST_POINTS if metric.unit == "points" and not hypothesis.ratio else math.inf


def count_seeds(spread: Spread, margin: float, level: float) -> tuple[int, int] | None:
    """At how many seeds the half-width reaches the margin: a range, as a verdict's, where the spread is from runs."""
    if spread.value is None or margin <= 0:
        return None
    if spread.freedom:
        return statistics.seeds_to_settle(spread.value, spread.freedom + 1, margin, level)
    number = int(statistics.seeds_for(spread.value, margin, level))
    return number, number


def is_decidable(found: Outlook, margin: float) -> bool:
    """Whether these seeds settle the claim as far as is known.

    Without a margin only equality can never be shown.
    """
    if found.is_settled:
        return True
    if found.is_final or found.half_width is None or (found.hypothesis.same and margin == 0):
        return False
    if found.is_near:
        return found.seeds_needed is not None and found.num_seeds >= found.seeds_needed[0]
    return found.half_width <= margin or (margin == 0 and found.smallest != math.inf)


def describe(found: Outlook, absent: list[str], level: float) -> str:
    """What these seeds can show, as a sentence.  absent: arms of the claim that will have no run."""
    hypothesis, margin = found.hypothesis, margin_of(found.hypothesis, found.metric)
    subject = f"Hypothesis {found.number} ({hypothesis.first} against {hypothesis.second}, {found.metric.phrase}): "
    seeds = f"{found.num_seeds} seed{'s' * (found.num_seeds != 1)}"
    aim = f"a ratio of {1 + hypothesis.margin:g}" if hypothesis.ratio else f"a margin of {margin:g}"
    verb = "tell on which side the difference lies" if found.is_near else "do"
    enough = f"; {number_of_seeds(found.seeds_needed)} would {verb}" if found.seeds_needed else ""
    if found.verdict is not None and found.is_final:
        return f"{subject}{describe_final(found.verdict)}{enough if not found.is_settled else ''}."
    if found.num_seeds == 0:
        missing = f"{' and '.join(absent)} will have no run" if absent else "the arms will have no seed in common"
        return f"{subject}{missing}, so nothing can be compared."
    if found.num_seeds == 1:
        return f"{subject}one seed decides nothing{enough or '; two are the least'}."
    if hypothesis.same and margin == 0:
        return f"{subject}equality cannot be shown with a margin of 0; declare a larger one."
    if found.spread is None or found.half_width is None:
        return (
            f"{subject}what {seeds} can show is not known before runs of two arms have finished, for no spread of the "
            f"{found.metric.phrase} is assumed."
        )
    if found.spread == 0:
        return f"{subject}{found.spread_source}, so any difference above {aim} shows."
    if found.is_near and not found.decidable:
        return f"{subject}the interval of the finished runs crosses {aim}, which {seeds} will hardly change{enough}."
    shown = f"{reach(found, margin, level)} ({evidence(found)})"
    if not found.decidable:
        return f"{subject}{seeds} cannot settle {aim}; {shown}{enough}."
    return f"{subject}{seeds} can settle {aim}; {shown}." if margin > 0 else f"{subject}with {seeds}, {shown}."


def describe_final(verdict: Verdict) -> str:
    """The verdict that stands whatever the call does."""
    if verdict.unlike:
        return verdict.unlike
    already = "" if verdict.verdict == "inconclusive" else " already,"
    return f"{verdict.verdict}{already} with the {len(verdict.seeds)} seeds that have finished"


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
    if found.smallest == math.inf:
        return "no difference can show"
    size = write(found.smallest, RATIO_DIGITS) if found.hypothesis.ratio else with_unit(found.smallest, found)
    kind = "a ratio" if found.hypothesis.ratio else "an advantage"
    return f"{kind} of {size} or more is shown in {100 * POWER:.0f} of 100 cases"


def with_unit(value: float, found: Outlook) -> str:
    """A difference with its unit, with no more digits than it needs."""
    return found.metric.with_unit(write(value, choose_digits(2 * value, found.metric.digits)))
