"""Finding runs in MLflow."""

import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from mlflow import MlflowClient, artifacts
from mlflow.entities import Experiment, Run

from segcore.errors import UserError
from segcore.tracking.address import shown_uri, tracking_uri
from segcore.tracking.store import impatient, tracking_client, unusable

BEST_WEIGHTS = "best.safetensors"
# The tag of a run that is no training but holds a report.
SUMMARY = "summary"
# So many settings tell runs of one name apart.
MAX_DIFFERING = 3
RUN_ID_PREFIX = re.compile(r"[0-9a-f]{4,32}")


def all_experiments(client: MlflowClient) -> list[Experiment]:
    """All experiments that are not in the trash."""
    experiments: list[Experiment] = []
    page = client.search_experiments()
    while True:
        experiments += page
        if not page.token:
            return experiments
        page = client.search_experiments(page_token=page.token)


def experiment_ids(client: MlflowClient) -> list[str]:
    """Their ids."""
    return [experiment.experiment_id for experiment in all_experiments(client)]


def find_runs(client: MlflowClient, condition: str) -> list[Run]:
    """All runs outside the trash that meet an MLflow filter, oldest first."""

    ids = experiment_ids(client)
    runs: list[Run] = []
    page = client.search_runs(ids, condition, order_by=["attributes.start_time ASC"])
    while True:
        runs += page
        if not page.token:
            return runs
        page = client.search_runs(ids, condition, order_by=["attributes.start_time ASC"], page_token=page.token)


def open_run(run: str) -> Path:
    """The path of the best weights of a tracked run; downloaded into a temporary folder where they are elsewhere.

    run: the run's id, its first four or more digits, its exact name, or EXPERIMENT/NAME.  Of several attempts under
    one name the newest finished one counts.  A copy leads to the run that it was copied from.
    Raises UserError where no run or several match, where the run has no weights, and where MLflow cannot be asked.
    """
    require_database(f"--run {run}")
    try:
        with impatient():
            uri = _uri_of_weights(tracking_client(), run)
        return Path(artifacts.download_artifacts(artifact_uri=uri, tracking_uri=tracking_uri()))
    except UserError:
        raise
    # Databases and artifact stores raise errors of their own beside MLflow's.
    except Exception as error:
        raise unusable(error) from error


def require_database(request: str) -> None:
    """Raises UserError, which names the request, where there is nothing to look a run up in."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and not Path("mlflow.db").is_file():
        raise UserError(
            f"{request}: there is no mlflow.db in this folder, so no run is known. Go to the folder in which it was "
            "trained, or set MLFLOW_TRACKING_URI."
        )


def _uri_of_weights(client: MlflowClient, run: str) -> str:
    found = client.get_run(only_run_id(client, run))
    if BEST_WEIGHTS not in {file.path for file in client.list_artifacts(found.info.run_id)}:
        state = found.data.tags.get("state", "of another tool")
        raise UserError(f"run {run} ({found.info.run_id}) has no {BEST_WEIGHTS}: it is {state}")
    return f"{found.info.artifact_uri}/{BEST_WEIGHTS}"


def only_run_id(client: MlflowClient, run: str) -> str:
    """The id of the one run that is called so, as in `open_run`.  Raises UserError where none or several are."""
    names = {experiment.experiment_id: experiment.name for experiment in all_experiments(client)}
    found = _runs_called(client, run, names)
    # Copies hold the same weights as their origin, so they do not make a name ambiguous.
    origins: set[str] = {match.data.tags.get("reused_from", match.info.run_id) for match in found}
    if len(origins) == 1:
        return origins.pop()
    if not found and _is_report(client, run, names):
        raise UserError(f"run {run} is an ablation's report, no training; name one of its runs")
    if not found:
        raise UserError(f"no run in MLflow ({shown_uri()}) has the id or the name {run!r}; `mlflow ui` lists them")
    listed = "\n".join(
        f"  {match.info.run_id}  {names[match.info.experiment_id]}/{match.info.run_name}{_kind(match, found)}"
        for match in found[:10]
    )
    raise UserError(f"{len(found)} runs are called {run!r}; choose one of:\n{listed}")


def _kind(run: Run, found: Sequence[Run]) -> str:
    """What tells runs of one name apart: when they were begun, and settings in which they differ."""
    keys = sorted({key for other in found for key in other.data.params})
    differing = [key for key in keys if len({other.data.params.get(key) for other in found}) > 1][:MAX_DIFFERING]
    begun = f"begun {datetime.fromtimestamp(run.info.start_time / 1000).astimezone():%Y-%m-%d %H:%M}"
    settings = [f"{key}={run.data.params.get(key, 'unknown')}" for key in differing]
    return f"  ({', '.join([begun, *settings])})"


def _runs_called(client: MlflowClient, run: str, names: Mapping[str, str]) -> list[Run]:
    if RUN_ID_PREFIX.fullmatch(run):
        found = _trainings(find_runs(client, f"attributes.run_id LIKE '{run}%'"))
        if found:
            return found
    # The part behind the last slash is in the name in any case.  A quote would end the text in MLflow's filter, so it
    # is matched loosely there and exactly here.
    loose = re.sub(r"['\"\\]", "_", run.rpartition("/")[2])
    found = _trainings(find_runs(client, f"attributes.run_name LIKE '%{loose}'"))
    named = [match for match in found if match.info.run_name == run]
    placed = [match for match in found if f"{names[match.info.experiment_id]}/{match.info.run_name}" == run]
    return _best_attempts(named or placed)


def _is_report(client: MlflowClient, run: str, names: Mapping[str, str]) -> bool:
    """Whether this is the id of a report, the start of one, or its name, with or without its experiment."""
    reports = find_runs(client, f"tags.{SUMMARY} = 'true'")
    called = {report.info.run_name for report in reports}
    placed = {f"{names[report.info.experiment_id]}/{report.info.run_name}" for report in reports}
    has_id = RUN_ID_PREFIX.fullmatch(run) and any(report.info.run_id.startswith(run) for report in reports)
    return bool(has_id) or run in called | placed


def _trainings(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if SUMMARY not in run.data.tags]


def _best_attempts(runs: Sequence[Run]) -> list[Run]:
    """The finished ones, or all where none is; of each fingerprint, arm and seed of an experiment only the newest.

    runs: oldest first.
    """
    finished = [run for run in runs if run.info.status == "FINISHED"]
    newest: dict[tuple[str, ...], Run] = {}
    for run in finished or runs:
        tags = run.data.tags
        arm_and_seed = (tags.get("arm", run.info.run_id), tags.get("seed", ""))
        newest[run.info.experiment_id, *arm_and_seed, tags.get("fingerprint", "")] = run
    return list(newest.values())
