"""The runs of two arms side by side, seed by seed: what can be compared, and what is missing."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.definition import Hypothesis
from analysis.metrics import Metric
from analysis.numbers import name_seeds
from analysis.statistics import Array, rounding_spread

# What a run was computed on and with, where the runs tell; times and memory can only be compared where these are alike.
MACHINE = ("device", "host", "threads")
SAME = 1e-9  # part of the values by which differences that are the same may differ, for floats are not exact


@dataclass(frozen=True)
class Pairs:
    """The values of both arms on their common seeds.

    values: (first, second) of each seed, as stored.  problem: why nothing can be compared and what to do, else "".
    cause: the same in a few words.  notes: what is missing, a sentence each.  unlike: the problem, where it is that the
    runs were not computed alike.
    """

    seeds: tuple[int, ...]
    values: tuple[tuple[float, float], ...]
    problem: str
    notes: tuple[str, ...]
    cause: str = ""
    unlike: str = ""


def pair_up(hypothesis: Hypothesis, metric: Metric, declared_seeds: Iterable[int], runs: pd.DataFrame) -> Pairs:
    """Both arms of a hypothesis on the seeds where both have a finished run with a finite value.

    runs: a row a run, with columns arm, seed, state, the metrics, and reason where there is one.
    """
    arms = (hypothesis.first, hypothesis.second)
    found = {arm: usable_values(arm, metric, runs) for arm in arms}
    seeds = sorted(found[arms[0]].keys() & found[arms[1]].keys())
    values = tuple((found[arms[0]][seed], found[arms[1]][seed]) for seed in seeds)
    notes = [note for arm in arms for note in describe_missing(arm, metric, declared_seeds, runs, found[arm])]
    notes += [note for arm in arms for note in describe_newer(arm, runs)]
    notes += describe_unpaired(arms, found, seeds)
    unlike = describe_machines(arms, metric, runs, seeds)
    cause, more = find_problem(hypothesis, metric, runs, found, values)
    if cause or unlike:
        cause, problem = (cause, f"{cause}{more}") if cause else ("the runs were not computed alike", unlike)
        return Pairs((), (), problem, tuple(notes), cause, unlike)
    return Pairs(tuple(seeds), values, "", tuple(notes))


def usable_values(arm: str, metric: Metric, runs: pd.DataFrame) -> dict[int, float]:
    """The finite values of an arm's finished runs by seed."""
    if metric.key not in runs:
        return {}
    finished = runs[(runs["arm"] == arm) & (runs["state"] == "finished")]
    values = zip(finished["seed"], pd.to_numeric(finished[metric.key], errors="coerce"), strict=True)
    return {int(seed): float(value) for seed, value in values if math.isfinite(value)}


def advantages(hypothesis: Hypothesis, metric: Metric, values: Array) -> Array:
    """By how much the first arm is better on each seed, in the metric's unit; of ratios the logarithm.

    values: (num_seeds, 2), first and second as stored.  Where less is better, the second over the first is the ratio.
    """
    first, second = values[:, 0], values[:, 1]
    if hypothesis.ratio:
        return np.asarray(metric.sign * np.log(first / second))
    return np.asarray(metric.sign * (first - second) * metric.scale)


def least_spread(hypothesis: Hypothesis, metric: Metric, values: Array) -> float:
    """The least spread of `advantages` that is believed: that of rounding, where the metric has whole values."""
    if not hypothesis.ratio or not metric.step:
        return rounding_spread(metric.step * metric.scale)
    # A step is the smaller a part of a value, the larger that is.
    return rounding_spread(metric.step) * float(np.sqrt((1 / values**2).mean()))


def has_same_differences(hypothesis: Hypothesis, metric: Metric, values: Array) -> bool:
    """Whether all seeds give the same advantage."""
    size = 1.0 if hypothesis.ratio else metric.scale * float(np.abs(values).max())
    return bool(np.ptp(advantages(hypothesis, metric, values)) <= SAME * size)


def margin_of(hypothesis: Hypothesis, metric: Metric) -> float:
    """The margin on the scale of `advantages`."""
    return math.log1p(hypothesis.margin) if hypothesis.ratio else hypothesis.margin * metric.scale


def describe_missing(
    arm: str, metric: Metric, declared_seeds: Iterable[int], runs: pd.DataFrame, found: Mapping[int, float]
) -> list[str]:
    """The seeds of an arm that give no value: a note for all of one kind."""
    rows = {int(row["seed"]): row for row in runs[runs["arm"] == arm].to_dict("records")}
    kinds: dict[str, list[int]] = {}
    for seed in sorted({*rows, *declared_seeds} - found.keys()):
        row = rows.get(seed, {"state": "not run"})
        if row["state"] != "finished":
            reason = row.get("reason")
            why = f" ({reason})" if isinstance(reason, str) and reason else ""
            kinds.setdefault(f"{row['state']}{why}", []).append(seed)
        elif metric.key in runs:
            kinds.setdefault(f"finished, but without a number for the {metric.phrase}", []).append(seed)
    return [f"{arm}, {name_seeds(seeds)}: {kind}" for kind, seeds in kinds.items()]


def describe_newer(arm: str, runs: pd.DataFrame) -> list[str]:
    """The finished runs of an arm that stand although they were trained again since, as their reasons say."""
    if "reason" not in runs:
        return []
    rows = runs[(runs["arm"] == arm) & (runs["state"] == "finished")].sort_values("seed")
    reasons: dict[str, list[int]] = {}
    for seed, reason in zip(rows["seed"], rows["reason"], strict=True):
        if isinstance(reason, str) and reason:
            reasons.setdefault(reason, []).append(int(seed))
    return [f"{arm}, {name_seeds(seeds)}: finished; {reason}" for reason, seeds in reasons.items()]


def differing_machines(
    arms: tuple[str, str], metric: Metric, runs: pd.DataFrame, seeds: Iterable[int]
) -> dict[int, dict[str, str]]:
    """The seeds on which two arms were not computed alike, and in what: {42: {"device": "cpu and NVIDIA H200"}}.

    Empty for metrics that do not depend on it, and where the runs do not tell.
    """
    known = [column for column in MACHINE if column in runs]
    if not metric.of_machine or not known:
        return {}
    finished = runs[runs["state"] == "finished"]
    first, second = (
        finished[finished["arm"] == arm].drop_duplicates("seed").set_index("seed")[known].to_dict("index")
        for arm in arms
    )
    found: dict[int, dict[str, str]] = {}
    for seed in seeds:
        pairs = {column: (write_fact(first[seed][column]), write_fact(second[seed][column])) for column in known}
        differences = {column: " and ".join(pair) for column, pair in pairs.items() if all(pair) and len({*pair}) > 1}
        found |= {seed: differences} if differences else {}
    return found


def write_fact(value: object) -> str:
    """A fact of a run as text; empty where it is not known."""
    if value is None or value != value:  # NaN
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def describe_machines(arms: tuple[str, str], metric: Metric, runs: pd.DataFrame, seeds: list[int]) -> str:
    """Why the arms' times or memory cannot be compared: a clause, or "" where they can be."""
    found = differing_machines(arms, metric, runs, seeds)
    if not found:
        return ""
    facts = [(column, of[column]) for column in MACHINE for of in found.values() if column in of]
    differences = "; ".join(f"{column} {values}" for column, values in dict.fromkeys(facts))
    return (
        f"the runs of {name_seeds(sorted(found))} were not computed alike ({differences}), and the {metric.phrase} "
        "depends on that; run both arms on one machine, with as many threads"
    )


def describe_unpaired(arms: tuple[str, str], found: Mapping[str, Mapping[int, float]], seeds: list[int]) -> list[str]:
    """A note where an arm has seeds that the other lacks."""
    alone = {arm: sorted(found[arm].keys() - set(seeds)) for arm in arms}
    if not seeds or not any(alone.values()):
        return []
    left_out = " and ".join(f"{name_seeds(numbers)} of {arm}" for arm, numbers in alone.items() if numbers)
    return [f"compared on the common {name_seeds(seeds)}; {left_out} left out, for want of a partner"]


def find_problem(
    hypothesis: Hypothesis,
    metric: Metric,
    runs: pd.DataFrame,
    found: Mapping[str, Mapping[int, float]],
    values: tuple[tuple[float, float], ...],
) -> tuple[str, str]:
    """Why the arms cannot be compared, and how that clause goes on; ("", "") where they can be."""
    arms = (hypothesis.first, hypothesis.second)
    finished = runs[runs["state"] == "finished"]
    idle = [arm for arm in arms if not (finished["arm"] == arm).any()]
    if idle:
        return f"{' and '.join(idle)} {'have' if len(idle) > 1 else 'has'} no finished run", what_to_do(idle, runs)
    if metric.key not in runs or finished[metric.key].isna().all():
        return f"no run has {metric.key}", "; name a metric that the runs have, or train them anew with --rerun"
    empty = [arm for arm in arms if not found[arm]]
    if empty:
        return f"no finished run of {' and '.join(empty)} has a number", f" for the {metric.phrase}"
    if not values:
        seeds = ", ".join(f"{arm} has {name_seeds(sorted(found[arm]))}" for arm in arms)
        return "the arms have no seed in common", f" ({seeds}); run both on the same seeds"
    if hypothesis.ratio and min(map(min, values)) <= 0:
        return "a ratio needs values above 0", ", and not all are; declare the claim without `ratio`"
    return "", ""


def what_to_do(idle: list[str], runs: pd.DataFrame) -> str:
    """What follows for arms without a finished run, as the end of a clause."""
    reason = what_stops(idle, runs)
    if reason:
        return f": {reason}"
    running = runs.loc[runs["state"] == "running", "arm"]
    under_way = [arm for arm in idle if (running == arm).any()]
    states = set(runs.loc[runs["arm"].isin(idle), "state"])
    if under_way:
        whose = "its runs" if len(idle) == 1 else f"runs of {' and '.join(under_way)}"
        return f"; {whose} are under way"
    if len(running) and states <= {"not run"}:
        return "; the ablation is under way"
    if states == {"diverged"}:
        return f"; {'its runs' if len(idle) == 1 else 'their runs'} diverged, and would again with these settings"
    return "; run the ablation again"


def what_stops(arms: list[str], runs: pd.DataFrame) -> str:
    """Why a machine could not do the runs of arms, which the same command on it will not mend; else ""."""
    rows = runs[runs["arm"].isin(arms)]
    if "reason" not in rows or not len(rows) or not (rows["state"] == "missing").all():
        return ""
    return "; ".join(dict.fromkeys(reason for reason in rows["reason"] if isinstance(reason, str) and reason))
