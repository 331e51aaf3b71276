"""Whether a training that was repeated gave the same: epoch by epoch, metric by metric.  Pure."""

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

# Of a number, or absolute where the number is below 1: a fifth of the smallest margin that the ablations claim about.
TOLERANCE = 1e-3
# How long and how much memory a training takes is not what it learns.
NOT_COMPARED = ("epoch_seconds", "images_per_second", "train_seconds", "peak_memory_gib")
# How a run may have ended through no doing of its own: that need not happen again.
FROM_OUTSIDE = ("interrupted", "running", "unknown")

Metrics = Mapping[str, float]


class Match(StrEnum):
    """How two numbers, or all of them, agree; the later, the worse."""

    equal = "equal"
    close = "within tolerance"
    different = "different"


@dataclass(frozen=True)
class Outcome:
    """What a training gave.

    epochs: metrics of each epoch, from 1.  results: metrics at the end.  state, reason: how it ended.
    weights: hash of the best epoch's weights, None where there are none; best_epoch: that epoch, None if unknown.
    """

    epochs: Mapping[int, Metrics]
    results: Metrics
    state: str
    reason: str | None = None
    weights: str | None = None
    best_epoch: int | None = None


@dataclass(frozen=True)
class MetricComparison:
    """One metric then and now.

    values: numbers that were compared.  differing: epochs in which they are not equal bit for bit; 0 is the end.
    largest: largest difference; infinite where a number is missing on one side or not finite.
    """

    metric: str
    match: Match
    values: int
    differing: tuple[int, ...]
    largest: float


@dataclass(frozen=True)
class Comparison:
    """A training and its repetition.

    epochs, results: each metric over the epochs, and at the end.  then, now: what was compared.
    weights: whether the best epoch's weights are equal; None where they can't be compared.
    end: whether it ended as it did; None where how it ended then came from outside, and says nothing.
    """

    then: Outcome
    now: Outcome
    epochs: tuple[MetricComparison, ...]
    results: tuple[MetricComparison, ...]
    weights: bool | None
    end: bool | None

    @property
    def num_epochs(self) -> int:
        """The number of epochs that are compared."""
        return len(compared_epochs(self.then, self.now))

    @property
    def metrics(self) -> tuple[MetricComparison, ...]:
        """All of them."""
        return self.epochs + self.results

    @property
    def first_different(self) -> int | None:
        """The first epoch in which a metric is not equal bit for bit; None where there is none."""
        return min((epoch for metric in self.epochs for epoch in metric.differing), default=None)

    @property
    def match(self) -> Match:
        """The worst of all metrics; weights that differ in a bit make it no more than close."""
        worst = max((metric.match for metric in self.metrics), key=list(Match).index, default=Match.equal)
        return Match.close if worst == Match.equal and self.weights is False else worst

    @property
    def is_reproduced(self) -> bool:
        """Whether it is the same training: it agrees in all that there is to compare, and there is something."""
        is_anything = bool(self.metrics) or (self.end is True and self.then.state != "finished")
        is_whole = self.now.state in ("finished", "diverged") or self.end is True
        return is_anything and is_whole and self.match != Match.different and self.end is not False


def compare(then: Outcome, now: Outcome) -> Comparison:
    """A training and its repetition.  Where the first was stopped from outside, only as far as it came."""
    steps = compared_epochs(then, now)
    before = {epoch: then.epochs.get(epoch, {}) for epoch in steps}
    after = {epoch: now.epochs.get(epoch, {}) for epoch in steps}
    results = {**now.results, **then.results} if then.state == "finished" else then.results
    end = None if then.state in FROM_OUTSIDE else ended_alike(then, now)
    return Comparison(
        then=then,
        now=now,
        epochs=tuple(compare_metric(name, before, after) for name in names([*before.values(), *after.values()])),
        results=tuple(compare_metric(name, {0: then.results}, {0: now.results}) for name in names([results])),
        weights=compare_weights(then, now),
        end=end,
    )


def compared_epochs(then: Outcome, now: Outcome) -> list[int]:
    """Those of then; also those that only now has where the first ended by what it learnt, not by a failure."""
    is_whole = then.state in ("finished", "diverged")
    return sorted({*then.epochs, *now.epochs} if is_whole else {*then.epochs})


def ended_alike(then: Outcome, now: Outcome) -> bool:
    """The same end after the same number of epochs; a failure for the same reason."""
    is_alike = then.state == now.state and len(then.epochs) == len(now.epochs)
    return is_alike and (then.state != "failed" or then.reason == now.reason)


def compare_weights(then: Outcome, now: Outcome) -> bool | None:
    """Whether they are equal; None where one side has none, or where a training that went on found better ones."""
    if then.weights is None or now.weights is None:
        return None
    went_on = then.state != "finished" and then.best_epoch != now.best_epoch
    return None if went_on else then.weights == now.weights


def names(metrics: Iterable[Metrics]) -> list[str]:
    """All metrics that are compared, sorted."""
    return sorted({name for values in metrics for name in values if name not in NOT_COMPARED})


def compare_metric(name: str, then: Mapping[int, Metrics], now: Mapping[int, Metrics]) -> MetricComparison:
    """One metric at the same steps."""
    pairs = {
        step: (then[step].get(name), now[step].get(name)) for step in then if name in then[step] or name in now[step]
    }
    differences = {step: difference(*pair) for step, pair in pairs.items()}
    matches = [match(*pair) for pair in pairs.values()]
    return MetricComparison(
        metric=name,
        match=max(matches, key=list(Match).index),
        values=len(pairs),
        differing=tuple(step for step, value in differences.items() if value > 0),
        largest=max(differences.values()),
    )


def match(then: float | None, now: float | None) -> Match:
    """How two numbers agree."""
    apart = difference(then, now)
    if apart == 0:
        return Match.equal
    is_close = then is not None and math.isfinite(apart) and apart <= TOLERANCE * max(1.0, abs(then))
    return Match.close if is_close else Match.different


def difference(then: float | None, now: float | None) -> float:
    """How far apart two numbers are; 0 for equal ones, NaN or not, infinite where one is missing or not finite."""
    if then is None or now is None:
        return math.inf
    then, now = as_stored(then), as_stored(now)
    if then == now or (math.isnan(then) and math.isnan(now)):
        return 0.0
    return abs(then - now) if math.isfinite(then - now) else math.inf


def as_stored(value: float) -> float:
    """MLflow's databases hold the largest number in place of an infinite one."""
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value
