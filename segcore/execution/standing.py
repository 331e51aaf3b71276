"""How an ablation stands: a row for each of its runs, as the folders in `runs/` tell, without MLflow.

Of several attempts at a run the newest that finished stands; one that was made since and did not finish is noted.
"""

import re
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from segcore.execution import folder as folders
from segcore.execution.folder import REPLACED, RunFolder, folder_of
from segcore.plan import Plan, Run, digest

SEED = re.compile(r"^seed: (\d{1,18})$", re.MULTILINE)

MACHINE = ("device", "host", "threads")
ENDS = {
    "running": "is running",
    "failed": "failed",
    "diverged": "diverged",
    "interrupted": "was interrupted",
    "lost": "was lost",
    "missing": "could not be run here",
}


def standing_folder(run: Run) -> RunFolder:
    """The folder of the newest attempt that finished, which a later one may have set aside; else the run's own."""
    folder = folder_of(run)
    if folder.state == "finished":
        return folder
    earlier = (RunFolder(path.parent) for path in (folders.RUNS / REPLACED).glob(f"{run.fingerprint}-*/run.json"))
    finished = [attempt for attempt in earlier if attempt.state == "finished"]
    return max(finished, key=created, default=folder)


def created(folder: RunFolder) -> float:
    """When an attempt was begun, Unix time; 0 where its file is damaged."""
    time = folder.read("run").get("created")
    return time if isinstance(time, int | float) else 0.0


def newer_attempt(run: Run) -> str:
    """What became of the attempt that was made after the one that stands, as a clause; empty where there is none."""
    folder = folder_of(run)
    if folder == standing_folder(run) or folder.state == "new":
        return ""
    return f"a newer attempt {ENDS[folder.state]}" + (f" ({folder.reason})" if folder.reason else "")


def standing_runs(plan: Plan) -> list[Run]:
    """What the ablation counts: all arms on the declared seeds and on those that are asked for, and each other run
    that was asked for before and finished.

    Seed by seed.  A seed that only another ablation ran does not count, though its runs may be the same.
    """
    expected = {*plan.ablation.definition.seeds, *plan.ablation.seeds}
    others = sorted(seeds_in_folders() - expected)
    runs = plan.runs_of(sorted(expected))
    name = plan.ablation.experiment
    return runs + [run for run in plan.runs_of(others) if is_finished(run) and belongs_to(run, name)]


def is_finished(run: Run) -> bool:
    """Whether an attempt at the run has finished."""
    return standing_folder(run).state == "finished"


def belongs_to(run: Run, experiment: str) -> bool:
    """Whether the run was delivered to an experiment, or is to be."""
    return experiment in standing_folder(run).experiments() | folder_of(run).experiments()


def seeds_in_folders() -> set[int]:
    """The seeds of all runs that have a folder."""
    paths = (path for pattern in ("*", f"{REPLACED}/*") for path in folders.RUNS.glob(f"{pattern}/settings.yaml"))
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in paths if path.is_file())
    return {int(seed) for text in texts for seed in SEED.findall(text)}


def seeds_after(plan: Plan) -> dict[str, set[int]]:
    """The seeds of each arm that the verdicts can rest on once the call is done: finished, or to be run."""
    seeds: dict[str, set[int]] = {arm: set() for arm in plan.arms}
    for run in standing_runs(plan):
        if is_finished(run):
            seeds[run.arm].add(run.seed)
    for run in plan.runs:
        if run.unavailable is None:
            seeds[run.arm].add(run.seed)
    return seeds


def standing_rows(plan: Plan) -> list[dict[str, Any]]:
    """What analysis needs to judge: arm, seed, state, reason, where it was computed, and a finished run's metrics."""
    return [
        {
            "arm": run.arm,
            "seed": run.seed,
            "state": shown_state(run),
            "reason": shown_reason(run),
            "hypotheses": claims_of(run, plan.ablation.experiment),
            **machine_of(run),
            **metrics_of(run),
        }
        for run in standing_runs(plan)
    ]


def standing_digest(plan: Plan) -> str:
    """A hash of the plan, its definition and how it stands: equal as long as there is nothing new to report."""
    folders_of_runs = [(run, folder_of(run)) for run in standing_runs(plan)]
    runs = [
        (run.arm, run.seed, folder.read("run").get("attempt"), folder.state, folder.reason)
        for run, folder in folders_of_runs
    ]
    return digest([plan.plan, plan.ablation.experiment, plan.ablation.definition.model_dump(), runs])


def shown_state(run: Run) -> str:
    """What became of a run so far, as people say it."""
    state = standing_folder(run).state
    return "not run" if state == "new" else state


def shown_reason(run: Run) -> str:
    """Why a run did not finish; of one that did, that it was tried again since."""
    newer = newer_attempt(run)
    return f"{newer}; the finished one before it stands" if newer else folder_of(run).reason or ""


def claims_of(run: Run, experiment: str) -> str:
    """The hash of what the experiment claimed when the run was begun; empty where it was begun for another one."""
    folder = standing_folder(run)
    first = next((line.get("name") for line in folder.lines("experiments")), None)
    request = folder.read("run").get("request")
    return str(request.get("hypotheses", "")) if first == experiment and isinstance(request, dict) else ""


def machine_of(run: Run) -> dict[str, str]:
    """Device, host and threads of a run, as texts; empty where its folder does not tell."""
    environment = standing_folder(run).read("environment")
    return {name: str(environment.get(name, "")) for name in MACHINE}


def metrics_of(run: Run) -> dict[str, float]:
    """The metrics of a finished run, its last epoch's among them; empty for any other."""
    folder = standing_folder(run)
    if folder.state != "finished":
        return {}
    last_epoch = [numbers_of(line) for line in folder.lines("epochs")][-1:]
    return dict(ChainMap(numbers_of(folder.read("results")), *last_epoch))


def numbers_of(content: Mapping[str, Any]) -> dict[str, float]:
    """The metrics in a line or a file, those that are numbers: of a damaged one, what is left."""
    metrics = content.get("metrics")
    found = metrics.items() if isinstance(metrics, dict) else ()
    return {name: value for name, value in found if isinstance(value, int | float)}
