"""How an ablation stands: a row for each of its runs, as the folders in `runs/` tell, without MLflow."""

import re
from typing import Any

from segcore.execution import folder as folders
from segcore.execution.folder import folder_of
from segcore.plan import Plan, Run, digest

SEED = re.compile(r"^seed: (\d+)$", re.MULTILINE)


def standing_runs(plan: Plan) -> list[Run]:
    """All arms on the declared seeds and those that are asked for, and every other run of the plan that has a folder.

    Seed by seed; arms that are not asked for are among them.
    """
    expected = {*plan.ablation.definition.seeds, *plan.ablation.seeds}
    others = sorted(seeds_in_folders() - expected)
    runs = plan.runs_of(sorted(expected))
    return runs + [run for run in plan.runs_of(others) if folder_of(run).state == "finished"]


def seeds_in_folders() -> set[int]:
    """The seeds of all runs that have a folder."""
    texts = (path.read_text(encoding="utf-8") for path in folders.RUNS.glob("*/settings.yaml"))
    return {int(seed) for text in texts for seed in SEED.findall(text)}


def seeds_after(plan: Plan) -> set[int]:
    """The seeds that the verdicts can rest on once the call is done: those that are asked for or have finished runs."""
    finished = {run.seed for run in standing_runs(plan) if folder_of(run).state == "finished"}
    return finished | set(plan.ablation.seeds)


def standing_rows(plan: Plan) -> list[dict[str, Any]]:
    """What analysis needs to judge: arm, seed, state, reason, and the metrics of a finished run."""
    return [
        {
            "arm": run.arm,
            "seed": run.seed,
            "state": shown_state(run),
            "reason": folder_of(run).reason or "",
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
    state = folder_of(run).state
    return "not run" if state == "new" else state


def metrics_of(run: Run) -> dict[str, float]:
    """The metrics of a finished run, its last epoch's among them; empty for any other."""
    folder = folder_of(run)
    if folder.state != "finished":
        return {}
    last_epoch = list(folder.lines("epochs"))[-1]["metrics"]
    metrics: dict[str, float] = last_epoch | folder.read("results").get("metrics", {})
    return metrics
