"""What a reader has to know beside a verdict."""

import hashlib
import json
from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.definition import Definition, Hypothesis
from analysis.metrics import Metric
from analysis.numbers import flat, runs_of
from analysis.pairing import Pairs
from analysis.statistics import Array

# The same for every seed by their nature: that their differences are equal says nothing of too few seeds.
WITHOUT_NOISE = ("parameters", "gflops")
FINAL_DICE = "val/dice_per_image"
# From where on an arm's final Dice is so much lower that 90 % of it is another, easier goal.
MUCH_LOWER = 0.1


def hash_claims(definition: Definition) -> str:
    """The hash that a run carries of what its ablation claimed: that of the runner, over the same content."""
    claims = [
        {
            "claim": hypothesis.claim,
            "better": None if hypothesis.same else hypothesis.first,
            "than": None if hypothesis.same else hypothesis.second,
            "same": [hypothesis.first, hypothesis.second] if hypothesis.same else None,
            "metric": hypothesis.metric,
            "margin": hypothesis.margin,
            "ratio": hypothesis.ratio,
        }
        for hypothesis in definition.hypotheses
    ]
    return hashlib.sha256(json.dumps(claims, sort_keys=True).encode()).hexdigest()[:16]


def runs_of_other_claims(definition: Definition, runs: pd.DataFrame) -> list[tuple[str, int]]:
    """Arm and seed of the runs that were begun when the ablation claimed something else.

    Runs that were taken over carry the claims of the ablation that they were trained for, and do not count.
    """
    if "hypotheses" not in runs:
        return []
    current = hash_claims(definition)
    taken_over = runs.get("reused_from", pd.Series("", index=runs.index))
    rows = zip(runs["arm"], runs["seed"], runs["hypotheses"], taken_over, strict=True)
    return [
        (str(arm), int(seed))
        for arm, seed, claimed, donor in rows
        if isinstance(claimed, str) and claimed not in ("", current) and not (isinstance(donor, str) and donor)
    ]


def describe_changed_claims(definition: Definition, runs: pd.DataFrame) -> Iterator[str]:
    """A note where claims or margins were changed once runs had been begun: such a verdict predicts nothing."""
    others = runs_of_other_claims(definition, runs)
    if others:
        yield (
            f"the claims or their margins were changed after these runs were begun: {runs_of(others)}; a claim that "
            "was fitted to its results is not tested by them"
        )


def describe_convergence(hypothesis: Hypothesis, metric: Metric, pairs: Pairs, runs: pd.DataFrame) -> Iterator[str]:
    """Notes where the epochs to 90 % of the final Dice say little of speed, because that Dice is easily reached."""
    if metric.key != "epochs_to_90" or not pairs.values:
        return
    arms = (hypothesis.first, hypothesis.second)
    for arm, values in zip(arms, zip(*pairs.values, strict=True), strict=True):
        if set(values) == {1.0}:
            yield (
                f"{arm} is within 10 % of its final Dice after the first epoch already, as a network is too that "
                "learns nothing: look at its curve before you call it fast"
            )
    if FINAL_DICE not in runs:
        return
    compared = runs[(runs["state"] == "finished") & runs["seed"].isin(pairs.seeds)]
    first, second = (float(compared.loc[compared["arm"] == arm, FINAL_DICE].astype(float).mean()) for arm in arms)
    if min(first, second) < (1 - MUCH_LOWER) * max(first, second):
        lower, higher = (arms[0], arms[1]) if first < second else (arms[1], arms[0])
        yield (
            f"{flat(lower)} ends at a validation Dice of {min(first, second):.2f}, {flat(higher)} at "
            f"{max(first, second):.2f}: 90 % of the lower one is the easier goal"
        )


def describe_steps(metric: Metric, differences: Array, least: float) -> Iterator[str]:
    """Notes where the differences vary less than rounding makes them, or are of two kinds only.

    differences: of each seed.  least: the spread that rounding alone makes.
    """
    num_kinds, num_seeds = len(np.unique(differences.round(12))), len(differences)
    if metric.key in WITHOUT_NOISE:
        return
    if float(statistics.mean_and_spread(differences)[1]) < least:
        steps = "whole numbers" if metric.step == 1 else f"steps of {metric.step:g} {metric.unit}"
        yield (
            f"the {num_seeds} differences vary less than {steps} can tell: the interval is as wide as rounding "
            "alone makes it"
        )
    elif num_kinds == 2 < num_seeds:
        yield (
            f"the {num_seeds} differences take only two values; the interval presumes finer steps, so its level is "
            "approximate"
        )
