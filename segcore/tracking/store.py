"""The tracking database, and the experiments in it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from segcore.errors import UserError
from segcore.tracking.view import VIEW_TAG, arms_link, arms_view

# MLflow's own limit for the tags of an experiment.
MAX_EXPERIMENT_TAG = 20_000
# Leaves room for the link below it.
MAX_DESCRIPTION = 19_000


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or MLflow's default: `mlflow.db` in the current folder, with the artifacts in `mlruns/`.

    The default is made absolute, so that it stays the same database whatever the process does later.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///" + quote(str(Path("mlflow.db").absolute()))


def tracking_client() -> MlflowClient:
    """A client of `tracking_uri()`."""
    return MlflowClient(tracking_uri())


def shown_uri() -> str:
    """`tracking_uri()` as messages show it: without user name and password."""
    return _without_credentials(tracking_uri())


def first_line(error: Exception) -> str:
    """What MLflow or its database said, in one line and without the credentials of `tracking_uri()`."""
    return _without_credentials(str(error) or type(error).__name__).strip().split("\n", 1)[0][:500]


def _without_credentials(text: str) -> str:
    netloc = urlsplit(tracking_uri()).netloc
    return text.replace(netloc, netloc.rpartition("@")[2]) if "@" in netloc else text


def prepare_store() -> list[str]:
    """Creates the database where there is none yet; to be called once, before any worker starts.

    Returns warnings for the user: a file store of an older MLflow that stands in the way of a bare `mlflow ui`.
    Raises UserError where MLflow cannot be used: a file store was asked for, the database belongs to another version
    of MLflow or cannot be written, the server does not answer.
    """
    uri = tracking_uri()
    scheme = urlsplit(uri).scheme
    if scheme in ("", "file"):
        raise UserError(
            f"MLFLOW_TRACKING_URI={uri} is a folder, and MLflow no longer writes to plain folders. Unset it to use "
            "mlflow.db in the current folder, or set a database (sqlite:////absolute/path/mlflow.db) or a server "
            "(http://127.0.0.1:5000)."
        )
    _check_answers(uri)
    return [] if "MLFLOW_TRACKING_URI" in os.environ else _leftover_file_store(Path("mlruns"))


def _check_answers(uri: str) -> None:
    try:
        MlflowClient(uri).search_experiments(max_results=1)
    # Whatever the database's driver raises, the answer to the user is the same.
    except Exception as error:
        advice = "Is MLFLOW_TRACKING_URI right, and does the server run?"
        if uri.startswith("sqlite:"):
            advice = "Check that the file can be written, or move it away to begin a new one."
        if "out-of-date database schema" in str(error):
            advice = f"Copy the database to a safe place, then run: mlflow db upgrade {shown_uri()}"
        raise UserError(f"MLflow cannot be used at {shown_uri()}: {first_line(error)}\n{advice}") from error


def _leftover_file_store(artifacts: Path) -> list[str]:
    old = sorted(file.parent.name for file in artifacts.glob("*/meta.yaml"))
    if not old:
        return []
    return [
        f"{artifacts}/ holds experiments of MLflow's old file store ({', '.join(old[:5])}{', …' if old[5:] else ''}). "
        "A bare `mlflow ui` would show those instead of mlflow.db: move them out of mlruns/, or start "
        "`mlflow ui --backend-store-uri sqlite:///mlflow.db`. `mlflow migrate-filestore` converts them."
    ]


def ensure_experiment(name: str, description: str, definition: Mapping[str, Any]) -> str:
    """The id of the experiment `name`, made where it is missing, with description and definition brought up to date.

    description: Markdown, shown above the runs, its first line also in the list of experiments; a link to the curves
    by arm is added.  definition: the ablation, kept as JSON in the tag `ablation`.
    Raises UserError where an experiment of that name lies in MLflow's trash, and for a definition above 20,000
    characters, which MLflow cannot hold.
    """
    text = json.dumps(definition, ensure_ascii=False)
    if len(text) > MAX_EXPERIMENT_TAG:
        raise UserError(
            f"ablation {name}: its definition takes {len(text):,} characters as JSON, and MLflow holds "
            f"{MAX_EXPERIMENT_TAG:,}; shorten its texts or divide it into two ablations"
        )
    client = tracking_client()
    experiment = client.get_experiment_by_name(name) or _create_experiment(client, name)
    experiment_id = str(experiment.experiment_id)
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"experiment {name} lies in MLflow's trash. Bring it back with `mlflow experiments restore --experiment-id "
            f"{experiment_id}`, or remove it for good with `mlflow gc --experiment-ids {experiment_id} "
            f"--backend-store-uri {shown_uri()}`; both need MLFLOW_TRACKING_URI={shown_uri()}"
        )
    link = f"[Curves and results by arm]({arms_link(experiment_id)})"
    tags = {
        "ablation": text,
        "mlflow.note.content": f"{description[:MAX_DESCRIPTION].rstrip()}\n\n{link}\n",
        # A user's own changes to the view stay.
        VIEW_TAG: experiment.tags.get(VIEW_TAG) or arms_view(experiment.creation_time or 0),
    }
    for key, value in tags.items():
        if experiment.tags.get(key) != value:
            client.set_experiment_tag(experiment_id, key, value)
    return experiment_id


def _create_experiment(client: MlflowClient, name: str) -> Experiment:
    try:
        client.create_experiment(name)
    except MlflowException as error:
        # Another runner was faster.
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return experiment
