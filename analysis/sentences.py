"""Verdicts in words that can be quoted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from analysis.pairing import least_spread
from analysis.rounding import write_numbers
from analysis.statistics import MAX_SEEDS, SHOWN_LEVEL, decide, more_seeds

if TYPE_CHECKING:
    from analysis.verdicts import Verdict

RATIO_DIGITS = 2


def describe(verdict: Verdict, num_hypotheses: int, problem: str, num_missing: int = 0) -> str:
    """The verdict's sentence.

    problem: why nothing could be compared, or nothing said of other seeds, else "".  num_missing: declared seeds that
    are not compared yet.
    """
    hypothesis, metric = verdict.hypothesis, verdict.metric
    if verdict.estimate is None:
        return f"{hypothesis.first} against {hypothesis.second}, {metric.phrase}: inconclusive, because {problem}."
    seeds = f"{len(verdict.seeds)} seed{'s' * (len(verdict.seeds) > 1)}"
    if verdict.interval is None or verdict.verdict_interval is None:
        statement, _ = state(verdict, (verdict.estimate, verdict.estimate))
        others = f"the other {num_missing} seeds are still missing" if num_missing > 1 else "run two more at least"
        return f"{statement} ({seeds}): inconclusive, because one seed does not show the spread; {others}."
    statement, shown = state(verdict, (verdict.estimate, verdict.estimate) if problem else verdict.interval)
    has_width = verdict.interval[0] < verdict.interval[1] and not problem
    evidence = f"{write_level(SHOWN_LEVEL)} interval {shown}, " if has_width else "the same on all "
    if problem:
        end = f"inconclusive, because {problem}"
    elif verdict.verdict == "inconclusive":
        end = f"inconclusive{stricter(verdict, num_hypotheses)}{outlook(verdict)}"
    else:
        end = f"{verdict.verdict}{standing(verdict)}"
    return f"{statement} ({evidence}{seeds}): {end}."


def state(verdict: Verdict, interval: tuple[float, float]) -> tuple[str, str]:
    """What was found, as a statement, and an interval as text.

    The interval is that of the statement's number: where it says "0.4 points less", 0.4 lies inside.
    """
    assert verdict.estimate is not None
    hypothesis, metric = verdict.hypothesis, verdict.metric
    names = {"first": hypothesis.first, "second": hypothesis.second, "phrase": metric.phrase}
    if hypothesis.ratio:
        limits = (1 / verdict.margin, 1.0, verdict.margin)
        number, low, high = write_numbers((verdict.estimate, *interval), limits, RATIO_DIGITS)
        return metric.quotient.format(ratio=number, **names), f"{low} to {high}"
    less = verdict.estimate * metric.sign < 0
    numbers = (verdict.estimate, *interval)
    if verdict.estimate < 0:
        numbers = (-verdict.estimate, -interval[1], -interval[0])
    number, low, high = write_numbers(numbers, (-verdict.margin, 0.0, verdict.margin), metric.digits)
    statement = metric.difference.format(amount=metric.with_unit(number), more=metric.words[less], **names)
    if verdict.estimate == 0:
        statement = f"{hypothesis.first} and {hypothesis.second} come to the same {metric.phrase} on average"
    return statement, f"{low} to {high}"


def write_level(level: float) -> str:
    """`95 %`, `99.17 %`, as everywhere."""
    return f"{100 * level:.2f}".rstrip("0").rstrip(".") + " %"


def standing(verdict: Verdict) -> str:
    """Where a settled difference lies against the margin, where there is one."""
    within = verdict.verdict == "equivalent" or (verdict.hypothesis.same and verdict.verdict == "supported")
    if verdict.hypothesis.ratio:
        inverse = f"{1 / verdict.margin:.3g}"
        if within:
            return f", between the ratios {inverse} and {verdict.margin:g}"
        return f", above a ratio of {verdict.margin:g}" if is_above(verdict) else f", below a ratio of {inverse}"
    if verdict.margin == 0:
        return ""
    return f", {'within' if within else 'by more than'} the margin of {verdict.margin:g}"


def is_above(verdict: Verdict) -> bool:
    """Whether the first arm is the better one by the estimate."""
    return verdict.estimate is not None and verdict.estimate > (1 if verdict.hypothesis.ratio else 0)


def stricter(verdict: Verdict, num_hypotheses: int) -> str:
    """Says so where 95 % would have settled it, and only that several claims share the error leaves it open."""
    assert verdict.interval is not None and verdict.verdict_interval is not None
    low, high, margin = on_scale(verdict, *verdict.interval, verdict.margin)
    if str(decide(low, high, margin, verdict.hypothesis.same)) == "inconclusive":
        return ""
    _, interval = state(verdict, verdict.verdict_interval)
    return f" at the {write_level(verdict.level)} level that {num_hypotheses} claims ask for ({interval})"


def on_scale(verdict: Verdict, *values: float) -> list[float]:
    """Values on the scale on which they are decided: the logarithm of ratios, all others as they are."""
    return [math.log(value) if verdict.hypothesis.ratio else value for value in values]


def outlook(verdict: Verdict) -> str:
    """How many seeds would settle an open claim."""
    assert verdict.estimate is not None and verdict.verdict_interval is not None
    low, high, margin, estimate = on_scale(verdict, *verdict.verdict_interval, verdict.margin, verdict.estimate)
    distance = abs(estimate) - margin
    name = f"a ratio of {verdict.margin:g}" if verdict.hypothesis.ratio else f"a margin of {verdict.margin:g}"
    if margin == 0 or (high - low) / 2 <= margin:
        near = "0" if margin == 0 and not verdict.hypothesis.ratio else name.replace("a margin", "the margin")
        if verdict.hypothesis.ratio and not is_above(verdict):
            near = f"a ratio of {1 / verdict.margin:.3g}"
        needed = number_of_seeds(verdict.seeds_needed)
        side = "whether the difference is within it" if verdict.hypothesis.same else "on which side the difference lies"
        return f", because the interval crosses {near}; {needed} would tell {side}"
    text = f"; {number_of_seeds(verdict.seeds_needed)} would settle {name}"
    least = least_spread(verdict.hypothesis, verdict.metric, np.array(verdict.values))
    sooner = more_seeds(np.array(on_scale(verdict, *verdict.advantages)), distance, verdict.level, least)
    if distance > margin and sooner != verdict.seeds_needed:
        text += f", {number_of_seeds(sooner).removesuffix(' seeds')} if the difference stays as it is"
    return text


def number_of_seeds(needed: tuple[int, int] | None) -> str:
    """A number of seeds in a sentence: "8 to 15 seeds", "9 seeds", "more than 1000 seeds"."""
    if needed is None:
        return "no number of seeds"
    low, high = (str(number) if number <= MAX_SEEDS else f"more than {MAX_SEEDS}" for number in needed)
    return f"{low} seeds" if low == high else f"{low} to {high} seeds"
