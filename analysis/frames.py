"""Tracked runs to tidy frames, and sentences for what a reader of them has to know.  Pure: nothing here asks MLflow."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.attempts import (
    WITHOUT_EFFECT,
    Place,
    TrackedRun,
    by_arm_and_seed,
    find_places,
    is_within,
    name_of,
)
from analysis.definition import Definition
from analysis.metrics import METRICS

FINAL_METRICS = (*METRICS, "threshold")
TEXT_TAGS = ("fingerprint", "reused_from", "git_commit", "device", "threads", "host", "torch", "preset", "overrides")
SIZES = {"num_train": "train", "num_validation": "validation", "num_test": "test", "num_skipped": "skipped"}
RUN_COLUMNS = (
    *("run_id", "arm", "seed", "state", "reason", "started", "attempts", "stale", "is_declared"),
    *(*TEXT_TAGS, "hypotheses", "git_dirty", "data_name", "data_fingerprint", *SIZES, "artifact_uri"),
    *FINAL_METRICS,
)
EPOCH_COLUMNS = ("arm", "seed", "epoch", "metric", "value")
NOT_RUN = "not run"
UNDELIVERED = "MLflow does not hold all of it yet; the runner's command, given once more, delivers the rest"
# MLflow's databases know no infinity, and keep this number in its place.
LARGEST = 1.79e308
# Runs of before kept more of the data's fingerprint than those of now.
DIGEST = 12


def runs_frame(definition: Definition, runs: Sequence[TrackedRun]) -> pd.DataFrame:
    """A row for each arm of the definition and each seed, whether it was run or not, then those of arms it lacks.

    runs: of one plan.  Seeds: those of the definition, and any other that has a run.  Columns as RUN_COLUMNS; final
    metrics are NaN where a run did not finish.  attempts: how many runs there are; stale: how many more, which do not
    have the arm's settings and are left out.
    """
    found = find_places(definition, runs)
    seeds = sorted({*definition.seeds, *(seed for arm, seed in found if arm in definition.arms)})
    places = [(arm, seed) for arm in definition.arms for seed in seeds]
    places += sorted(set(found) - set(places))
    rows = [describe_place(*place, found.get(place, Place())) for place in places]
    for row in rows:
        row["is_declared"] = row["arm"] in definition.arms and row["seed"] in definition.seeds
    frame = pd.DataFrame(rows, columns=list(RUN_COLUMNS))
    numbers = [*FINAL_METRICS, *SIZES, "started"]
    frame["run_id"] = pd.Series([row["run_id"] for row in rows], dtype="object")
    return frame.astype(dict.fromkeys(numbers, "float64") | {"seed": "int64", "attempts": "int64", "stale": "int64"})


def describe_place(arm: str, seed: int, place: Place) -> dict[str, Any]:
    """The row of an arm and seed: the run that stands for them, or why there is none."""
    if place.attempts:
        row = describe_run(place.attempts[-1], len(place.attempts))
    else:
        row = describe_absent(arm, seed)
        row["reason"] = f"{place.difference}; run it again" if place.difference else ""
    return row | {"stale": place.stale}


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
        if here.get(key) != there.get(key) and not is_within(key, ignored)
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


def describe_attempts(definition: Definition, tracked: Iterable[TrackedRun]) -> list[str]:
    """Sentences on runs that were left out, and on newer attempts that came to nothing.

    tracked: of one plan.
    """
    left_out: dict[tuple[str, str], list[int]] = {}
    newer: dict[str, list[str]] = {}
    for (arm, seed), place in sorted(find_places(definition, tracked).items()):
        if not place.attempts:
            left_out.setdefault((arm, place.difference), []).append(seed)
        elif place.newer is not None:
            newer.setdefault(describe_end(place.newer), []).append(place.newer.name)
    notes = [
        f"{arm}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}, left out: {difference}; run "
        f"{'them' if len(seeds) > 1 else 'it'} again."
        for (arm, difference), seeds in left_out.items()
    ]
    return notes + [
        f"{list_names(names)}: a newer attempt {end}; the finished one before it is shown."
        for end, names in newer.items()
    ]


def describe_end(run: TrackedRun) -> str:
    """What became of an attempt that did not finish, and why where it says so: `failed (out of memory)`."""
    verbs = {"interrupted": "was interrupted", "lost": "was lost", "running": "is running", "missing": "could not run"}
    reason = " ".join(run.tags.get("reason", "").split()).rstrip(".")
    return verbs.get(run.state, run.state) + (f" ({reason})" if reason else "")


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
