"""Tracked runs to tidy frames, and sentences for what a reader of them has to know.  Pure: nothing here asks MLflow."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.definition import Definition
from analysis.metrics import METRICS

FINAL_METRICS = (*METRICS, "threshold")
TEXT_TAGS = ("fingerprint", "reused_from", "git_commit", "device", "threads", "host", "torch", "preset", "overrides")
SIZES = {"num_train": "train", "num_validation": "validation", "num_test": "test", "num_skipped": "skipped"}
RUN_COLUMNS = (
    *("run_id", "arm", "seed", "state", "reason", "started", "attempts", "is_declared"),
    *(*TEXT_TAGS, "hypotheses", "git_dirty", "data_name", "data_fingerprint", *SIZES, "artifact_uri"),
    *FINAL_METRICS,
)
EPOCH_COLUMNS = ("arm", "seed", "epoch", "metric", "value")
NOT_RUN = "not run"
# MLflow's status of a run, where the run itself does not tell its state.
STATES = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "interrupted", "RUNNING": "running"}
KNOWN_STATES = (*STATES.values(), "diverged", "missing")
UNDELIVERED = "MLflow does not hold all of it yet; the runner's command, given once more, delivers the rest"
# MLflow's databases know no infinity, and keep this number in its place.
LARGEST = 1.79e308
# Runs of before kept more of the data's fingerprint than those of now.
DIGEST = 12
# What a plan does not depend on: where and how a run is computed, or how its data is found (segcore.plan).
WITHOUT_EFFECT = (
    *("execution", "evaluation.batch_size", "data.root", "data.format", "data.download", "data.synthetic_images"),
    *("data.max_skipped_fraction", "data.cache_dir"),
)


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


def name_of(arm: str, seed: int) -> str:
    """How a run is called."""
    return f"{arm}, seed {seed}"


def is_run(tags: Mapping[str, str]) -> bool:
    """Whether tags are those of one arm on one seed; the summary of an ablation, for one, is not."""
    return {"arm", "plan"} <= set(tags) and tags.get("seed", "").isdecimal() and "summary" not in tags


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


def runs_frame(definition: Definition, runs: Sequence[TrackedRun]) -> pd.DataFrame:
    """A row for each arm of the definition and each seed, whether it was run or not, then those of arms it lacks.

    runs: of one plan.  Seeds: those of the definition, and any other that has a run.  Columns as RUN_COLUMNS; final
    metrics are NaN where a run did not finish.
    """
    attempts = by_arm_and_seed(runs)
    seeds = sorted({*definition.seeds, *(seed for arm, seed in attempts if arm in definition.arms)})
    places = [(arm, seed) for arm in definition.arms for seed in seeds]
    places += sorted(set(attempts) - set(places))
    rows = [
        describe_run(attempts[place][-1], len(attempts[place])) if place in attempts else describe_absent(*place)
        for place in places
    ]
    for row in rows:
        row["is_declared"] = row["arm"] in definition.arms and row["seed"] in definition.seeds
    frame = pd.DataFrame(rows, columns=list(RUN_COLUMNS))
    numbers = [*FINAL_METRICS, *SIZES, "started"]
    frame["run_id"] = pd.Series([row["run_id"] for row in rows], dtype="object")
    return frame.astype(dict.fromkeys(numbers, "float64") | {"seed": "int64", "attempts": "int64"})


def describe_absent(arm: str, seed: int) -> dict[str, Any]:
    """The row of an arm and seed that no run tells anything about."""
    texts = dict.fromkeys([*TEXT_TAGS, "hypotheses", "reason", "data_name", "data_fingerprint", "artifact_uri"], "")
    facts = {"run_id": None, "arm": arm, "seed": seed, "state": NOT_RUN, "attempts": 0, "git_dirty": None}
    return texts | facts | dict.fromkeys([*FINAL_METRICS, *SIZES, "started"], math.nan)


def describe_run(run: TrackedRun, num_attempts: int) -> dict[str, Any]:
    """The row of a run."""
    row = describe_absent(run.arm, run.seed)
    row |= {key: run.tags.get(key, "") for key in (*TEXT_TAGS, "hypotheses", "reason")}
    row |= {"run_id": run.run_id, "state": run.state, "started": run.started, "attempts": num_attempts}
    row |= {"git_dirty": {"true": True, "false": False}.get(run.tags.get("git_dirty", "")), "data_name": run.data_name}
    row |= {"data_fingerprint": run.data_digest[:DIGEST], "artifact_uri": run.artifact_uri}
    row |= {column: run.profile.get(key, math.nan) for column, key in SIZES.items()}
    if not run.is_delivered:
        row["reason"] = UNDELIVERED
    if run.state == "finished":
        row |= {key: finite(run.metrics[key]) for key in FINAL_METRICS if key in run.metrics}
    return row


def finite(value: float) -> float:
    """The value, or NaN where it is none."""
    return value if math.isfinite(value) and abs(value) < LARGEST else math.nan


def epochs_frame(runs: pd.DataFrame, histories: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tidy epochs in the order of the runs: arm, seed, epoch, metric, value.

    histories: by metric, with columns run_id, epoch and value, in the order in which they were logged; of an epoch
    that was logged twice the last one counts.
    """
    columns = {"seed": "int64", "epoch": "int64", "value": "float64"}
    if not histories:
        return pd.DataFrame(columns=list(EPOCH_COLUMNS)).astype(columns)
    points = pd.concat([history.assign(metric=metric) for metric, history in histories.items()], ignore_index=True)
    points = points.drop_duplicates(["run_id", "metric", "epoch"], keep="last")
    points["value"] = points["value"].astype("float64").where(points["value"].abs() < LARGEST)
    ran = runs.loc[runs["run_id"].notna(), ["run_id", "arm", "seed"]]
    points = ran.assign(position=range(len(ran))).merge(points, on="run_id")
    points["rank"] = points["metric"].map({metric: rank for rank, metric in enumerate(histories)})
    points = points.sort_values(["position", "rank", "epoch"], ignore_index=True)
    return points[list(EPOCH_COLUMNS)].astype(columns)


def hypotheses_frame(definition: Definition) -> pd.DataFrame:
    """A row for each hypothesis, in the order of the file."""
    rows = [{"number": number, **vars(claim)} for number, claim in enumerate(definition.hypotheses, start=1)]
    columns = ["number", "claim", "first", "second", "metric", "margin", "same", "ratio"]
    return pd.DataFrame(rows, columns=columns)


def list_names(names: Sequence[str], most: int = 5) -> str:
    """Names for a sentence; of many the first, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more


def names_of(rows: pd.DataFrame) -> list[str]:
    """How the runs of a frame are called."""
    return [name_of(arm, seed) for arm, seed in zip(rows["arm"], rows["seed"], strict=True)]


def count_runs(number: int) -> str:
    """`1 run`, `9 runs`."""
    return f"{number} run" + "s" * (number != 1)


def describe_plans(
    experiment: str, definition: Definition, plans: Mapping[str, Sequence[TrackedRun]], shown: str
) -> list[str]:
    """A sentence for each plan that is not shown: how many runs it has, what differs in it, how to see it."""
    notes = []
    for plan, runs in plans.items():
        if plan != shown:
            number = count_runs(len(by_arm_and_seed(runs)))
            differences = list_names(compare_settings(plans[shown], runs, definition.factors)) or (
                "nothing that the settings tell, so in the data or in the recipe of the suite"
            )
            notes.append(
                f"Experiment {experiment} also holds {number} of plan {plan}, which cannot be "
                f"compared with those shown (plan {shown}) and are left out: they differ in {differences}. "
                f"`--plan {plan}` shows them."
            )
    return notes


def compare_settings(shown: Sequence[TrackedRun], hidden: Sequence[TrackedRun], factors: Sequence[str]) -> list[str]:
    """The settings in which two plans differ, outside the factor: `data.image_size (64, not 128)`."""
    arms = {run.arm: run.params for run in shown}
    pairs = [(arms[run.arm], run.params) for run in hidden if run.arm in arms]
    here, there = pairs[0] if pairs else (shown[0].params, hidden[0].params)
    ignored = (*WITHOUT_EFFECT, *factors, "seed")
    return [
        f"{key} ({there.get(key, 'not set')}, not {here.get(key, 'not set')})"
        for key in dict.fromkeys([*here, *there])
        if here.get(key) != there.get(key) and not any(key == part or key.startswith(f"{part}.") for part in ignored)
    ]


def describe_oddities(
    definition: Definition, runs: pd.DataFrame, tracked: Iterable[TrackedRun], epochs: pd.DataFrame
) -> list[str]:
    """Sentences on runs whose numbers are not what one would take them for."""
    notes = []
    gone = runs[~runs["arm"].isin(list(definition.arms))]
    for arm, rows in gone.groupby("arm", sort=False):
        notes.append(
            f"Arm {arm!r} has {count_runs(len(rows))}, but the ablation's definition no longer has it: it is listed, "
            "and takes part in no comparison."
        )
    chosen = {run.run_id: run for run in tracked}
    broken: dict[str, list[str]] = {}
    for row in runs[runs["state"] == "finished"].itertuples():
        run = chosen[str(row.run_id)]
        for key in FINAL_METRICS:
            if key in run.metrics and math.isnan(finite(run.metrics[key])):
                broken.setdefault(key, []).append(run.name)
    notes += [f"{key} is not a number in {list_names(names)}: taken as missing." for key, names in broken.items()]
    return notes + describe_epochs(runs, epochs)


def describe_epochs(runs: pd.DataFrame, epochs: pd.DataFrame) -> list[str]:
    """Sentences on epochs that are not there, or not a number."""
    notes = []
    for metric, points in epochs[epochs["value"].isna()].groupby("metric", sort=False):
        names = names_of(points.drop_duplicates(["arm", "seed"]))
        notes.append(f"{metric} is not a number in some epochs of {list_names(names)}: its curve has gaps there.")
    seen = set(zip(epochs["arm"], epochs["seed"], strict=True))
    finished = runs[runs["state"] == "finished"]
    without = [place for place in zip(finished["arm"], finished["seed"], strict=True) if place not in seen]
    if without:
        names = [name_of(*place) for place in without]
        notes.append(f"MLflow holds no epochs of {list_names(names)}, though finished: curves are drawn without them.")
    return notes
