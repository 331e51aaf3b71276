"""MLflow to tidy pandas frames: the only file of `analysis` that talks to MLflow."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

PAGE = 1000


class ResultsError(Exception):
    """The results that were asked for are not there or cannot be read; the message says why or what to run first."""


@contextmanager
def reading() -> Iterator[None]:
    """Inside, an error of MLflow is a ResultsError of one line."""
    try:
        yield
    except MlflowException as error:
        raise ResultsError("MLflow cannot be read: " + str(error).strip().split("\n", 1)[0]) from error


def make_client() -> MlflowClient:
    """A client of MLFLOW_TRACKING_URI, or of `mlflow.db` in the current folder."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None and not Path("mlflow.db").is_file():
        raise ResultsError("there is no mlflow.db in this folder; `python runner.py FILE` makes one")
    return MlflowClient(uri or f"sqlite:///{Path('mlflow.db').absolute()}")


def load_runs(client: MlflowClient, experiment: str) -> pd.DataFrame:
    """A row for each run of the experiment's newest plan: run_id, arm, seed, state, and every final metric.

    Of several attempts at one arm and seed the newest finished one stands, or the newest where none finished.  Raises
    ResultsError where there are no runs.
    """
    found = client.get_experiment_by_name(experiment)
    runs = search_all(client, found.experiment_id) if found else []
    if not runs:
        raise ResultsError(f"experiment {experiment} has no runs; `python runner.py experiments/...` makes them")
    starts = {run.info.run_id: run.info.start_time for run in runs}
    newest = max(runs, key=lambda run: run.info.start_time).data.tags["plan"]
    rows = {}
    for run in sorted(runs, key=lambda run: (run.data.tags["state"] == "finished", run.info.start_time)):
        if run.data.tags["plan"] == newest:
            rows[run.data.tags["arm"], run.data.tags["seed"]] = describe(run)
    in_order = sorted(rows.values(), key=lambda row: starts[str(row["run_id"])])
    return pd.DataFrame(in_order)


def search_all(client: MlflowClient, experiment_id: str) -> list[Run]:
    """Every run of an experiment, page by page."""
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=PAGE, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def describe(run: Run) -> dict[str, object]:
    """One run as a row."""
    tags = run.data.tags
    return {
        "run_id": run.info.run_id,
        "arm": tags["arm"],
        "seed": int(tags["seed"]),
        "state": tags["state"],
        "plan": tags["plan"],
        **run.data.metrics,
    }


def load_epochs(client: MlflowClient, runs: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Tidy epochs of the runs: a row for each arm, seed, epoch and metric, with its value."""
    rows = [
        {"arm": run.arm, "seed": run.seed, "epoch": point.step, "metric": metric, "value": point.value}
        for run in runs.itertuples()
        for metric in metrics
        for point in client.get_metric_history(str(run.run_id), metric)
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "epoch", "metric", "value"])
