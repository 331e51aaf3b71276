"""Finding runs in MLflow."""

import re
from pathlib import Path

from mlflow import MlflowClient, artifacts
from mlflow.entities import Run

from segcore.errors import UserError
from segcore.tracking.store import shown_uri, tracking_client, tracking_uri

BEST_WEIGHTS = "best.safetensors"
RUN_ID_PREFIX = re.compile(r"[0-9a-f]{4,32}")


def experiment_ids(client: MlflowClient) -> list[str]:
    """Ids of all experiments that are not in the trash."""
    ids: list[str] = []
    page = client.search_experiments()
    while True:
        ids += [experiment.experiment_id for experiment in page]
        if not page.token:
            return ids
        page = client.search_experiments(page_token=page.token)


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

    run: the run's id, its first four or more digits, or its exact name.  A copy leads to the run that it was copied
    from.  Raises UserError where no run or several match, or where the run has no weights.
    """
    client = tracking_client()
    run_id = _only_run_id(client, run)
    if BEST_WEIGHTS not in {file.path for file in client.list_artifacts(run_id)}:
        state = client.get_run(run_id).data.tags.get("state", "of another tool")
        raise UserError(f"run {run} ({run_id}) has no {BEST_WEIGHTS}: it is {state}")
    uri = f"{client.get_run(run_id).info.artifact_uri}/{BEST_WEIGHTS}"
    return Path(artifacts.download_artifacts(artifact_uri=uri, tracking_uri=tracking_uri()))


def _only_run_id(client: MlflowClient, run: str) -> str:
    found = _runs_called(client, run)
    # Copies hold the same weights as their origin, so they do not make a name ambiguous.
    origins: set[str] = {match.data.tags.get("reused_from", match.info.run_id) for match in found}
    if len(origins) == 1:
        return origins.pop()
    if not found:
        raise UserError(f"no run in MLflow ({shown_uri()}) has the id or the name {run!r}; `mlflow ui` lists them")
    names = {experiment.experiment_id: experiment.name for experiment in client.search_experiments()}
    listed = "\n".join(
        f"  {match.info.run_id}  {match.info.run_name}  (in {names.get(match.info.experiment_id, '?')})"
        for match in found[:10]
    )
    raise UserError(f"{len(found)} runs are called {run!r}; name one by its id:\n{listed}")


def _runs_called(client: MlflowClient, run: str) -> list[Run]:
    if RUN_ID_PREFIX.fullmatch(run):
        found = find_runs(client, f"attributes.run_id LIKE '{run}%'")
        if found:
            return found
    # A quote would end the text in MLflow's filter, so it is matched loosely there and exactly here.
    loose = re.sub(r"['\"\\]", "_", run)
    return [match for match in find_runs(client, f"attributes.run_name LIKE '{loose}'") if match.info.run_name == run]
