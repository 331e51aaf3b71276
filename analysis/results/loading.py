"""One plan of one experiment, as frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis import frames
from analysis.attempts import TrackedRun, by_arm_and_seed, newest_first
from analysis.definition import Definition
from analysis.results.client import Client, ResultsError, reading
from analysis.results.histories import load_histories
from analysis.results.tracked import find_experiment, read_definition, runner_command, search_runs

EPOCH_METRICS = ("train/loss", "val/dice_per_image")


@dataclass(frozen=True)
class Results:
    """One plan of an experiment.

    plans: every plan of the experiment and the number of its runs, newest first; `plan` is the one that is shown.
    runs, epochs: as `frames.runs_frame` and `frames.epochs_frame` make them.  params: by run id, the settings as MLflow
    keeps them.  notes: what a reader has to know, a sentence each.
    """

    experiment: str
    definition: Definition
    plan: str
    plans: dict[str, int]
    runs: pd.DataFrame
    epochs: pd.DataFrame
    params: dict[str, dict[str, str]]
    notes: tuple[str, ...]


def load_results(
    client: Client, experiment: str, plan: str | None = None, metrics: Sequence[str] = EPOCH_METRICS
) -> Results:
    """An experiment's newest plan, or the one whose hash begins with `plan`.

    metrics: those whose epochs are wanted.  Raises ResultsError where there is nothing to show: the experiment unknown,
    deleted, without runs or without its definition; the plan unknown; MLflow away.
    """
    with reading():
        found = find_experiment(client, experiment)
        tracked = search_runs(client, [found.experiment_id])[found.experiment_id]
    if not tracked:
        raise ResultsError(f"experiment {experiment} has no runs yet; `{runner_command(experiment)}` makes them")
    definition = read_definition(found)
    plans = newest_first(tracked)
    shown = choose_plan(experiment, plans, plan)
    runs = frames.runs_frame(definition, plans[shown])
    chosen = set(runs["run_id"].dropna())
    params = {run.run_id: dict(run.params) for run in plans[shown] if run.run_id in chosen}
    with reading():
        epochs = load_epochs(client, runs, params, metrics)
    oddities = frames.describe_attempts(definition, plans[shown])
    oddities += frames.describe_oddities(definition, runs, plans[shown], epochs)
    return Results(
        experiment=experiment,
        definition=definition,
        plan=shown,
        plans={name: len(by_arm_and_seed(of_plan)) for name, of_plan in plans.items()},
        runs=runs,
        epochs=epochs,
        params=params,
        notes=(*frames.describe_plans(experiment, definition, plans, shown), *oddities),
    )


def choose_plan(experiment: str, plans: Mapping[str, Sequence[TrackedRun]], wanted: str | None) -> str:
    """The newest plan, or the one that is wanted, by its hash or the hash's beginning."""
    if not wanted:
        return next(iter(plans))
    matching = [plan for plan in plans if plan == wanted] or [plan for plan in plans if plan.startswith(wanted)]
    if len(matching) == 1:
        return matching[0]
    problem = "is the beginning of several plans" if matching else "is none of the plans"
    raise ResultsError(f"{wanted} {problem} of experiment {experiment}; there are: {', '.join(matching or plans)}")


def load_epochs(
    client: Client, runs: pd.DataFrame, params: Mapping[str, Mapping[str, str]], metrics: Sequence[str]
) -> pd.DataFrame:
    """The epochs of all runs, the unfinished ones too."""
    run_ids = list(runs["run_id"].dropna())
    lengths = [settings.get("trainer.epochs", "") for settings in params.values()]
    num_epochs = max((int(length) for length in lengths if length.isdecimal()), default=1000)
    histories = {metric: load_histories(client, run_ids, metric, num_epochs) for metric in metrics}
    return frames.epochs_frame(runs, histories)


def hypotheses_frame(results: Results) -> pd.DataFrame:
    """A row a hypothesis: number, claim, first, second, metric, margin, same, ratio."""
    return frames.hypotheses_frame(results.definition)
