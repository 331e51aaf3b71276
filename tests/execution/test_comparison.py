"""Comparing two trainings, in numbers that a person can check."""

import math
import sys
from dataclasses import replace

import pytest

from segcore.execution.comparison import TOLERANCE, Match, Outcome, compare, difference, match

EPOCHS = {1: {"val/loss": 0.5, "epoch_seconds": 3.0}, 2: {"val/loss": 0.4, "epoch_seconds": 3.0}}
THEN = Outcome(EPOCHS, {"threshold": 0.5, "train_seconds": 6.0}, "finished", weights="abc", best_epoch=2)


def with_loss(second):
    """The same training with another loss in its second epoch."""
    return replace(THEN, epochs=EPOCHS | {2: {"val/loss": second}})


def test_the_same_numbers_are_reproduced_bit_for_bit_whatever_they_took():
    slower = {epoch: metrics | {"epoch_seconds": 9.0} for epoch, metrics in EPOCHS.items()}
    comparison = compare(THEN, replace(THEN, epochs=slower, results={"threshold": 0.5, "train_seconds": 18.0}))
    assert comparison.is_reproduced and comparison.match == Match.equal and comparison.weights is True
    assert [metric.metric for metric in comparison.metrics] == ["val/loss", "threshold"]
    assert comparison.first_different is None and comparison.num_epochs == 2


def test_one_bit_is_a_difference_within_the_tolerance():
    comparison = compare(THEN, with_loss(math.nextafter(0.4, 1)))
    assert comparison.match == Match.close and comparison.is_reproduced and comparison.first_different == 2
    assert comparison.epochs[0].differing == (2,) and 0 < comparison.epochs[0].largest < 1e-15


def test_more_than_the_tolerance_is_not_reproduced():
    comparison = compare(THEN, with_loss(0.4 + 1.01 * TOLERANCE))
    assert comparison.match == Match.different and not comparison.is_reproduced
    assert comparison.epochs[0].largest == pytest.approx(1.01 * TOLERANCE)


def test_equal_metrics_with_other_weights_are_not_bit_for_bit():
    comparison = compare(THEN, replace(THEN, weights="abd"))
    assert comparison.weights is False and comparison.match == Match.close and comparison.is_reproduced


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        (1000.0, 1000.9, Match.close),  # of the value where that is above 1
        (1000.0, 1001.1, Match.different),
        (math.nan, math.nan, Match.equal),
        (math.nan, 0.5, Match.different),
        (sys.float_info.max, math.inf, Match.equal),  # as a database holds it
        (-math.inf, math.inf, Match.different),
        (0.5, None, Match.different),
    ],
)
def test_numbers_that_are_large_or_none(then, now, expected):
    assert match(then, now) == match(now, then) == expected or now is None
    assert match(then, now) == expected
    assert (difference(then, now) == 0) == (expected == Match.equal)


def test_an_epoch_or_a_metric_that_is_missing_is_a_difference():
    short = compare(THEN, replace(THEN, epochs={1: EPOCHS[1]}))
    assert short.epochs[0].differing == (2,) and math.isinf(short.epochs[0].largest) and not short.is_reproduced
    longer = compare(THEN, replace(THEN, epochs=EPOCHS | {3: {"val/loss": 0.3}}))
    assert longer.epochs[0].differing == (3,) and not longer.is_reproduced
    more = compare(THEN, replace(THEN, results=THEN.results | {"new": 1.0}))
    assert [metric.metric for metric in more.results if metric.match == Match.different] == ["new"]


@pytest.mark.parametrize("state", ["interrupted", "running"])
def test_a_run_that_was_stopped_is_compared_as_far_as_it_came(state):
    stopped = Outcome({1: EPOCHS[1]}, {}, state, weights="first", best_epoch=1)
    comparison = compare(stopped, THEN)
    assert comparison.is_reproduced and comparison.num_epochs == 1 and comparison.end is None
    assert comparison.weights is None  # of another epoch
    assert not compare(stopped, replace(THEN, epochs={1: {"val/loss": 0.6}})).is_reproduced


def test_nothing_to_compare_is_not_reproduced():
    assert not compare(Outcome({}, {}, "interrupted"), THEN).is_reproduced


def test_a_divergence_in_the_same_epoch_is_reproduced():
    diverged = Outcome({1: EPOCHS[1]}, {}, "diverged", "training loss is nan in epoch 2")
    assert compare(diverged, diverged).is_reproduced
    at_once = Outcome({}, {}, "diverged", "training loss is nan in epoch 1")
    assert compare(at_once, at_once).is_reproduced
    assert not compare(diverged, at_once).is_reproduced
    assert not compare(diverged, THEN).is_reproduced
    assert not compare(THEN, replace(diverged, epochs=EPOCHS)).is_reproduced


def test_a_failure_is_reproduced_where_it_comes_back():
    failed = Outcome({1: EPOCHS[1]}, {}, "failed", "out of memory")
    assert compare(failed, failed).is_reproduced
    healed = compare(failed, THEN)
    assert healed.match == Match.equal and healed.end is False and not healed.is_reproduced
    assert not compare(failed, replace(failed, reason="disk full")).is_reproduced


def test_a_training_that_fails_reproduces_nothing_but_a_failure():
    stopped = Outcome({1: EPOCHS[1]}, {}, "interrupted")
    assert not compare(stopped, Outcome({1: EPOCHS[1]}, {}, "failed", "disk full")).is_reproduced
