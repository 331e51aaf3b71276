"""Experiments and runs as MLflow lists them, by the page."""

import gc
import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from mlflow.entities import Experiment, Run, ViewType

from analysis.attempts import TrackedRun, is_run
from analysis.definition import Definition, DefinitionError, parse_definition, read_definitions
from analysis.results.address import shown_uri
from analysis.results.client import Client, ResultsError, first_line, reading

EXPERIMENTS = Path("experiments")
TAG = "ablation"
PAGE = 500


@dataclass(frozen=True)
class ExperimentRow:
    """An ablation's experiment.

    preset: None without one; last_start: milliseconds, 0 where there are no runs.  Of one in MLflow's trash no runs are
    counted.  problem: what is wrong with its definition, and what to do, or ""; where there is one, ablation and preset
    are what its name tells.
    """

    name: str
    ablation: str
    preset: str | None
    title: str
    last_start: int
    num_runs: int
    is_deleted: bool = False
    problem: str = ""


def list_experiments(client: Client) -> list[ExperimentRow]:
    """A row for each ablation that MLflow knows, by name; those in its trash are marked."""
    with reading():
        experiments = find_ablations(client, ViewType.ALL)
        active = [experiment.experiment_id for experiment in experiments if not is_deleted(experiment)]
        runs = search_runs(client, active)
    return [describe_experiment(experiment, runs.get(experiment.experiment_id, ())) for experiment in experiments]


def is_deleted(experiment: Experiment) -> bool:
    """Whether it lies in MLflow's trash."""
    return bool(experiment.lifecycle_stage == "deleted")


def describe_experiment(experiment: Experiment, runs: Sequence[TrackedRun]) -> ExperimentRow:
    """An experiment's row; where its definition is damaged, its name has to do."""
    ablation, title, problem = experiment.name, "", ""
    try:
        definition = read_definition(experiment)
        ablation, title = definition.name, definition.title
        _, is_preset, rest = experiment.name.partition(f"{ablation}-")
        preset = rest if is_preset else None
    except ResultsError as error:
        problem = str(error)
        file, preset = file_and_preset(experiment.name)
        ablation = file.name if file else ablation
    return ExperimentRow(
        name=experiment.name,
        ablation=ablation,
        preset=preset,
        title=title,
        last_start=max((run.started for run in runs), default=0),
        num_runs=len({(run.plan, run.arm, run.seed) for run in runs}),
        is_deleted=is_deleted(experiment),
        problem=problem,
    )


def find_ablations(client: Client, view: int = ViewType.ACTIVE_ONLY) -> list[Experiment]:
    """The experiments that an ablation made, by name: those outside the trash, or all of them."""
    experiments: list[Experiment] = []
    token = None
    while True:
        page = client.search_experiments(view, page_token=token)
        experiments += page
        token = page.token
        if not token:
            found = (experiment for experiment in experiments if TAG in experiment.tags)
            return sorted(found, key=lambda experiment: str(experiment.name))


def find_experiment(client: Client, name: str) -> Experiment:
    """The experiment of that name.  Raises ResultsError where it is unknown or deleted."""
    found = client.get_experiment_by_name(name)
    if found is None:
        names = [experiment.name for experiment in find_ablations(client)]
        near = [other for other in names if other.startswith(f"{name}-")] or get_close_matches(name, names, cutoff=0.7)
        known = f"did you mean {' or '.join(near[:3])}?" if near else f"there are {', '.join(names) or 'none'}."
        raise ResultsError(f"MLflow has no experiment {name}; {known} `{runner_command(name)}` makes its runs")
    if is_deleted(found):
        raise ResultsError(
            f"experiment {name} lies in MLflow's trash; `MLFLOW_TRACKING_URI={shown_uri()} mlflow experiments restore "
            f"--experiment-id {found.experiment_id}` brings it back"
        )
    return found


def read_definition(experiment: Experiment) -> Definition:
    """What the experiment compares.  Raises ResultsError where it does not say so, or not readably."""
    again = f"`{runner_command(experiment.name)}` writes it anew, and trains nothing that is finished"
    if TAG not in experiment.tags:
        raise ResultsError(f"experiment {experiment.name} does not say what it compares (its tag `{TAG}`); {again}")
    try:
        return parse_definition(json.loads(experiment.tags[TAG]), f"its tag `{TAG}`")
    except (ValueError, DefinitionError) as error:
        reason = f"its tag `{TAG}` is no JSON" if isinstance(error, ValueError) else first_line(error)
        raise ResultsError(f"what experiment {experiment.name} compares cannot be told: {reason}; {again}") from error


def runner_command(experiment: str) -> str:
    """The command that makes an experiment's runs, as far as its name and the files of the current folder tell."""
    definition, preset = file_and_preset(experiment)
    return make_command(definition, preset) if definition else f"python runner.py {EXPERIMENTS}/FILE.yaml"


def file_and_preset(experiment: str) -> tuple[Definition | None, str | None]:
    """The ablation and the preset that an experiment's name stands for, of those that the current folder has."""
    files, _ = read_definitions(EXPERIMENTS)
    for name in sorted(files, key=len, reverse=True):
        before, is_preset, preset = experiment.partition(f"{name}-")
        if experiment == name:
            return files[name], None
        if is_preset and not before and (EXPERIMENTS / "presets" / f"{preset}.yaml").is_file():
            return files[name], preset
    return None, None


def make_command(definition: Definition, preset: str | None = None) -> str:
    """The command that runs an ablation's file."""
    source = definition.source or f"{EXPERIMENTS}/{definition.name}.yaml"
    return f"python runner.py {shlex.quote(source)}" + (f" --preset {preset}" if preset else "")


def search_runs(client: Client, experiment_ids: Sequence[str]) -> dict[str, list[TrackedRun]]:
    """The runs of each experiment: those of an arm and a seed, outside the trash."""
    found: dict[str, list[TrackedRun]] = {experiment_id: [] for experiment_id in experiment_ids}
    token = None
    with collector_paused():
        while experiment_ids:
            page = client.search_runs(list(experiment_ids), max_results=PAGE, page_token=token)
            for run in page:
                if is_run(run.data.tags):
                    found[run.info.experiment_id].append(to_tracked(run))
            token = page.token
            if not token:
                break
    return found


@contextmanager
def collector_paused() -> Iterator[None]:
    """Inside, Python does not look for garbage: among a million objects that all stay, that is half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def to_tracked(run: Run) -> TrackedRun:
    """A run of MLflow's as the frames want it."""
    inputs = run.inputs.dataset_inputs if run.inputs else []
    dataset = inputs[0].dataset if inputs else None
    return TrackedRun(
        run_id=run.info.run_id,
        started=run.info.start_time,
        status=run.info.status,
        artifact_uri=run.info.artifact_uri,
        tags=run.data.tags,
        params=run.data.params,
        metrics=run.data.metrics,
        data_name=dataset.name if dataset else "",
        data_digest=dataset.digest if dataset else "",
        profile=json.loads(dataset.profile) if dataset and dataset.profile else {},
    )
