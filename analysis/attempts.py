"""Which of the tracked runs stand for an arm on a seed.  Pure: nothing here asks MLflow.

An arm's runs have to have the arm's settings: the plan's hash leaves the factor out, so runs that were made before a
value of it was changed in the ablation's file are of the same plan, and of another arm in all but name.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.definition import Definition, as_number, write_value

# MLflow's status of a run, where the run itself does not tell its state.
STATES = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "interrupted", "RUNNING": "running"}
KNOWN_STATES = (*STATES.values(), "diverged", "lost", "missing")
# What a plan does not depend on: where and how a run is computed, or how its data is found (segcore.plan).
WITHOUT_EFFECT = (
    *("execution", "evaluation.batch_size", "trainer.compile", "data.root", "data.format", "data.download"),
    *("data.synthetic_images", "data.max_skipped_fraction", "data.cache_dir"),
)
# Settings that a choice elsewhere switches off: the key that decides, and what leaves them on (segcore.config).
USED_WITH = {
    "optimizer.momentum": ("optimizer.name", ("sgd",)),
    "scheduler.eta_min": ("scheduler.name", ("cosine",)),
    "scheduler.gamma": ("scheduler.name", ("exponential",)),
    "data.test_fraction": ("data.format", ("folders",)),
    "data.border": ("data.format", ("pets", "synthetic")),
}
# Of at most so many digits as a table's whole numbers hold.
SEED = re.compile(r"[0-9]{1,18}")
# A run keeps what was taken for it.
AUTOMATIC = "auto"


@dataclass(frozen=True)
class TrackedRun:
    """A run as MLflow holds it.  started: milliseconds; profile: of its dataset, with the sizes of the parts."""

    run_id: str
    started: int
    status: str
    artifact_uri: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    data_name: str = ""
    data_digest: str = ""
    profile: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arm(self) -> str:
        return self.tags["arm"]

    @property
    def seed(self) -> int:
        return int(self.tags["seed"])

    @property
    def plan(self) -> str:
        return self.tags["plan"]

    @property
    def name(self) -> str:
        return name_of(self.arm, self.seed)

    @property
    def is_delivered(self) -> bool:
        """Whether all of it is in MLflow; what a run ended with arrives before its end is noted."""
        return not (self.tags.get("state") == "finished" and self.status == "RUNNING")

    @property
    def state(self) -> str:
        """What became of the run; `running` until all of it is in MLflow."""
        state = self.tags.get("state", "") if self.is_delivered else "running"
        return state if state in KNOWN_STATES else STATES.get(self.status, "interrupted")


@dataclass(frozen=True)
class Place:
    """What there is of an arm on a seed.

    attempts: the runs with the arm's settings, the one that stands last: finished before newer.  stale: how many runs
    of other settings there are besides.  difference: in what the newest of those differs, "" without.
    """

    attempts: tuple[TrackedRun, ...] = ()
    stale: int = 0
    difference: str = ""

    @property
    def newer(self) -> TrackedRun | None:
        """The newest attempt, where it did not finish and an older one, which did, stands."""
        newest = max(self.attempts, key=lambda run: run.started, default=None)
        return newest if newest and newest.state != "finished" and self.attempts[-1].state == "finished" else None


def name_of(arm: str, seed: int) -> str:
    """How a run is called."""
    return f"{arm}, seed {seed}"


def is_run(tags: Mapping[str, str]) -> bool:
    """Whether tags are those of one arm on one seed; the summary of an ablation, for one, is not."""
    return {"arm", "plan"} <= set(tags) and SEED.fullmatch(tags.get("seed", "")) is not None and "summary" not in tags


def newest_first(runs: Iterable[TrackedRun]) -> dict[str, list[TrackedRun]]:
    """The runs of each plan; that plan is the first whose last run was started last."""
    plans: dict[str, list[TrackedRun]] = {}
    for run in sorted(runs, key=lambda run: run.started, reverse=True):
        plans.setdefault(run.plan, []).append(run)
    return plans


def by_arm_and_seed(runs: Iterable[TrackedRun]) -> dict[tuple[str, int], list[TrackedRun]]:
    """The attempts at each arm and seed, the one that stands for them last: finished before newer."""
    attempts: dict[tuple[str, int], list[TrackedRun]] = {}
    for run in sorted(runs, key=lambda run: (run.state == "finished", run.started)):
        attempts.setdefault((run.arm, run.seed), []).append(run)
    return attempts


def find_places(definition: Definition, runs: Iterable[TrackedRun]) -> dict[tuple[str, int], Place]:
    """What there is of each arm and seed that has runs, those of arms that the definition lacks included.

    runs: of one plan.
    """
    runs = list(runs)
    differences: dict[str, str] = {}
    for arm, settings in definition.arms.items():
        differences |= find_differences(settings, definition.factors, [run for run in runs if run.arm == arm])
    return {
        place: settle([(run, differences.get(run.run_id, "")) for run in attempts])
        for place, attempts in by_arm_and_seed(runs).items()
    }


def settle(attempts: Iterable[tuple[TrackedRun, str]]) -> Place:
    """What there is, from runs and what keeps them from standing."""
    attempts = list(attempts)
    stale = [(run.started, difference) for run, difference in attempts if difference]
    fitting = tuple(run for run, difference in attempts if not difference)
    return Place(fitting, len(stale), max(stale, default=(0, ""))[1])


def find_differences(settings: Mapping[str, Any], factors: Iterable[str], runs: Iterable[TrackedRun]) -> dict[str, str]:
    """By run id, in what runs of one arm do not have the arm's settings; those that have them are left out.

    settings: of the arm.  What it does not set is as in the newest run that has the rest.
    """
    factors = list(factors)
    expected = {key: read_value(value) for key, value in settings.items() if value != AUTOMATIC}
    declared = set(expected)
    found = {}
    for run in sorted(runs, key=lambda run: run.started, reverse=True):
        actual = effective_settings(run.params, factors)
        others = [key for key, value in actual.items() if key in expected and not is_same(value, expected[key])]
        if others:
            found[run.run_id] = describe_difference(others, actual, expected, declared)
        else:
            expected = actual | expected
    return found


def effective_settings(params: Mapping[str, str], factors: Iterable[str]) -> dict[str, Any]:
    """The settings of the factor that can change a result, as values."""
    return {
        key: read_value(value)
        for key, value in params.items()
        if is_within(key, factors) and not is_within(key, WITHOUT_EFFECT) and is_used(key, params)
    }


def is_within(key: str, groups: Iterable[str]) -> bool:
    """Whether a key is one of these, or below one."""
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def is_used(key: str, params: Mapping[str, str]) -> bool:
    """Whether no other setting switches this one off."""
    decides, values = USED_WITH.get(key, ("", ()))
    return decides not in params or params[decides] in values


def read_value(value: Any) -> Any:
    """A setting from MLflow's text (JSON, or the text itself) or from a file, so that the two can be compared."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return as_number(value)


def is_same(first: Any, second: Any) -> bool:
    """Whether two settings are equal; numbers are compared as numbers."""
    return bool(first == second) or str(first) == str(second)


def describe_difference(
    keys: Iterable[str], actual: Mapping[str, Any], expected: Mapping[str, Any], declared: Iterable[str]
) -> str:
    """`made with optimizer.lr = 1e-3, the arm now has 0.01`."""
    keys = list(keys)
    made = ", ".join(f"{key} = {write_value(actual[key])}" for key in keys)
    now = ", ".join(write_value(expected[key]) for key in keys)
    return f"made with {made}, {'the arm now' if set(keys) & set(declared) else 'its newest run'} has {now}"
