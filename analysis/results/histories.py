"""The values of a metric over the epochs, of many runs at once.

MLflow's client asks for one metric of one run at a time: two thousand requests for a thousand runs.  Its database and
its server can do better, each in a way of its own; neither is promised to stay, so the client's way is the last resort.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
from mlflow.utils.rest_utils import http_request, verify_rest_response
from sqlalchemy import select

from analysis.results.client import Client
from analysis.results.tracked import collector_paused

COLUMNS = ("run_id", "epoch", "value")
# What the server's page of charts asks; with its limit of points, beyond which it would say nothing and cut.
SERVER_PATH = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
MAX_POINTS = 25_000
# So many ids fit into an address line of 4 kB, which some servers allow no more than.
MAX_RUNS = 80
# Requests at a time: a server has four workers unless told otherwise.
THREADS = 4
# So many ids a query, which every database takes.
MAX_IDS = 500

Point = tuple[str, int, float]


def load_histories(client: Client, run_ids: Sequence[str], metric: str, num_epochs: int) -> pd.DataFrame:
    """A row for each time that a metric was logged: run_id, epoch and value; of a run in the order of logging.

    num_epochs: how long a history is about, so that a request asks for no more than a server answers.
    """
    with collector_paused():
        points = fetch(client, run_ids, metric, num_epochs) if run_ids else []
        frame = pd.DataFrame.from_records(points, columns=list(COLUMNS))
    return frame.astype({"run_id": "object", "epoch": "int64", "value": "float64"})


def fetch(client: Client, run_ids: Sequence[str], metric: str, num_epochs: int) -> list[Point]:
    """The points by the fastest way that this MLflow has."""
    store = getattr(getattr(client, "_tracking_client", None), "store", None)
    try:
        if hasattr(store, "ManagedSessionMaker"):
            return from_database(store, run_ids, metric)
        if hasattr(store, "get_host_creds"):
            return from_server(client, store, run_ids, metric, num_epochs)
    # Whatever breaks in another version of MLflow or behind a proxy: the public way may work, and its error counts.
    except Exception:
        return one_by_one(client, run_ids, metric)
    return one_by_one(client, run_ids, metric)


def one_by_one(client: Client, run_ids: Sequence[str], metric: str) -> list[Point]:
    """A request a run."""
    return [(run, point.step, point.value) for run in run_ids for point in client.get_metric_history(run, metric)]


def from_database(store: Any, run_ids: Sequence[str], metric: str) -> list[Point]:
    """Columns of MLflow's table of metrics: its own query makes whole objects of them, and takes ten times as long."""
    from mlflow.store.tracking.dbmodels.models import SqlMetric  # not there in every MLflow

    points: list[Point] = []
    with store.ManagedSessionMaker() as session:
        for start in range(0, len(run_ids), MAX_IDS):
            query: Any = (
                select(SqlMetric.run_uuid, SqlMetric.step, SqlMetric.value, SqlMetric.is_nan)
                .where(SqlMetric.key == metric, SqlMetric.run_uuid.in_(run_ids[start : start + MAX_IDS]))
                .order_by(SqlMetric.run_uuid, SqlMetric.timestamp, SqlMetric.step)
            )
            rows = session.execute(query)
            points += [(run, step, float("nan") if is_nan else value) for run, step, value, is_nan in rows]
    return points


def from_server(client: Client, store: Any, run_ids: Sequence[str], metric: str, num_epochs: int) -> list[Point]:
    """Several runs a request, several requests at a time."""
    # One point less than the limit: only an answer below it is known to be whole.
    size = max(1, min(MAX_RUNS, (MAX_POINTS - 1) // max(1, num_epochs)))
    groups = [run_ids[start : start + size] for start in range(0, len(run_ids), size)]
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda group: ask_server(client, store, group, metric), groups))
    return [point for answer in answers for point in answer]


def ask_server(client: Client, store: Any, run_ids: Sequence[str], metric: str) -> list[Point]:
    """The points of a group; of its halves where the answer may have been cut."""
    parameters = {"run_id": list(run_ids), "metric_key": metric, "max_results": MAX_POINTS}
    # MLflow's own request, so that user, password, token and certificate are those of every other one.
    response = http_request(store.get_host_creds(), SERVER_PATH, "GET", params=parameters)  # type: ignore[no-untyped-call]
    points = verify_rest_response(response, SERVER_PATH).json()["metrics"]
    if len(points) < MAX_POINTS:
        return [(point["run_id"], point["step"], point["value"]) for point in points]
    if len(run_ids) == 1:
        return one_by_one(client, run_ids, metric)
    half = len(run_ids) // 2
    return ask_server(client, store, run_ids[:half], metric) + ask_server(client, store, run_ids[half:], metric)
