"""What the runs say of each declared hypothesis: judge(definition, runs)."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.definition import Definition, Hypothesis
from analysis.metrics import Metric, metric_of
from analysis.notes import WITHOUT_NOISE, describe_changed_claims, describe_convergence, describe_steps
from analysis.pairing import SAME, Pairs, advantages, has_same_differences, least_spread, margin_of, pair_up
from analysis.sentences import describe
from analysis.statistics import Array

LARGEST = 700.0  # logarithm of a ratio


@dataclass(frozen=True)
class Verdict:
    """A hypothesis and what its runs say.

    number: from 1, as in the file.  verdict: supported, reversed, equivalent or inconclusive.  seeds: those compared.
    values: (first, second) of each seed, as stored.  advantages: by how much the first arm is better on each seed, in
    the metric's unit (positive: the claim's direction), or how many times (above 1).  estimate: their mean; of ratios
    the geometric one.  interval: at 95 %.  verdict_interval: at `level`, 1 - 0.05 / k, which decides.  margin: in the
    same unit; of ratios 1 + m.  seeds_needed: only where inconclusive; MAX_SEEDS + 1 stands for more.  sentence: to be
    quoted.  notes: what a reader has to know beside it.  cause: why there is no estimate, in a few words.  unlike: why
    times or memory were not compared: the machines.
    """

    number: int
    hypothesis: Hypothesis
    metric: Metric
    verdict: str
    seeds: tuple[int, ...]
    values: tuple[tuple[float, float], ...]
    advantages: tuple[float, ...]
    estimate: float | None
    interval: tuple[float, float] | None
    verdict_interval: tuple[float, float] | None
    level: float
    margin: float
    sign_flip_p: float | None
    seeds_needed: tuple[int, int] | None
    sentence: str
    notes: tuple[str, ...]
    cause: str = ""
    unlike: str = ""


def judge(definition: Definition, runs: pd.DataFrame) -> list[Verdict]:
    """A verdict on each hypothesis, in the file's order.

    runs: a row a run, with columns arm, seed, state, the metrics, and reason where there is one; with `hypotheses` and
    `reused_from` it is noted where claims were changed after runs were begun.
    """
    level = statistics.verdict_level(len(definition.hypotheses))
    changed = tuple(describe_changed_claims(definition, runs))
    verdicts = []
    for number, hypothesis in enumerate(definition.hypotheses, start=1):
        metric = metric_of(hypothesis.metric)
        pairs = pair_up(hypothesis, metric, definition.seeds, runs)
        verdict = compare(number, hypothesis, metric, pairs, level, runs)
        problem = pairs.problem or describe_no_spread(verdict)
        num_missing = len(set(definition.seeds) - set(verdict.seeds))
        sentence = describe(verdict, len(definition.hypotheses), problem, num_missing)
        verdicts.append(replace(verdict, sentence=sentence, notes=(*verdict.notes, *changed)))
    return verdicts


def compare(
    number: int, hypothesis: Hypothesis, metric: Metric, pairs: Pairs, level: float, runs: pd.DataFrame
) -> Verdict:
    """The verdict on one hypothesis, still without its sentence."""
    differences = advantages(hypothesis, metric, np.array(pairs.values, dtype=float).reshape(-1, 2))
    margin = margin_of(hypothesis, metric)
    in_words = np.exp if hypothesis.ratio else np.asarray
    verdict = Verdict(
        number=number,
        hypothesis=hypothesis,
        metric=metric,
        verdict="inconclusive",
        seeds=pairs.seeds,
        values=pairs.values,
        advantages=tuple(map(float, in_words(differences))),
        estimate=float(in_words(differences.mean())) if len(differences) else None,
        interval=None,
        verdict_interval=None,
        level=level,
        margin=1 + hypothesis.margin if hypothesis.ratio else margin,
        sign_flip_p=None,
        seeds_needed=None,
        sentence="",
        notes=(
            *pairs.notes,
            *([pairs.problem] if pairs.problem else []),
            *describe_convergence(hypothesis, metric, pairs, runs),
        ),
        cause=pairs.cause,
        unlike=pairs.unlike,
    )
    return verdict if len(differences) < 2 else decide(verdict, differences, margin)


def decide(verdict: Verdict, differences: Array, margin: float) -> Verdict:
    """The verdict that two or more seeds give."""
    ratio = verdict.hypothesis.ratio
    least = least_spread(verdict.hypothesis, verdict.metric, np.array(verdict.values))
    shown = statistics.paired_interval(differences, statistics.SHOWN_LEVEL, least)
    deciding = statistics.paired_interval(differences, verdict.level, least)
    no_spread = describe_no_spread(verdict)
    decision = "inconclusive" if no_spread else str(statistics.decide(*deciding, margin, verdict.hypothesis.same))
    is_open = decision == "inconclusive" and not no_spread
    return replace(
        verdict,
        verdict=decision,
        interval=as_pair(shown, ratio),
        verdict_interval=as_pair(deciding, ratio),
        sign_flip_p=statistics.sign_flip_p(differences),
        seeds_needed=statistics.seeds_still_needed(differences, margin, verdict.level, least) if is_open else None,
        notes=(*verdict.notes, *([no_spread] if no_spread else describe_steps(verdict.metric, differences, least))),
    )


def describe_no_spread(verdict: Verdict) -> str:
    """What is odd where all seeds give the same difference although the metric depends on luck; else "".

    Then nothing shows how far other seeds may be off, and an interval without width would be a certainty that nobody
    has: mostly the seed is not used, or the arms are the same.
    """
    metric, num_seeds = verdict.metric, len(verdict.seeds)
    if num_seeds < 2 or metric.key in WITHOUT_NOISE or metric.step:
        return ""
    values = np.array(verdict.values)
    if not has_same_differences(verdict.hypothesis, metric, values):
        return ""
    if np.ptp(values, axis=0).max() <= SAME * np.abs(values).max():
        return f"both arms give the same value on all {num_seeds} seeds, as if the seed were not used"
    if np.abs(values[:, 0] - values[:, 1]).max() <= SAME * np.abs(values).max():
        return f"the arms give the same values on all {num_seeds} seeds, as if they did not differ"
    return f"all {num_seeds} seeds give exactly the same difference, which luck hardly does; check what the runs are"


def as_pair(interval: tuple[Array, Array], ratio: bool) -> tuple[float, float]:
    """An interval in the unit in which it is shown."""
    low, high = map(float, interval)
    # Two seeds can give logarithms whose exponential no number holds.
    return (math.exp(max(low, -LARGEST)), math.exp(min(high, LARGEST))) if ratio else (low, high)
