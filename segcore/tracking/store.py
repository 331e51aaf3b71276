"""The tracking database, and the experiments in it."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import requests
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import InvalidUrlException, MlflowException
from mlflow.store.db.utils import create_sqlalchemy_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from segcore import credentials
from segcore.errors import UserError
from segcore.leases import make_lease
from segcore.tracking.address import (
    DATABASES,
    SERVERS,
    require_address,
    scheme_of,
    shown_uri,
    tracking_uri,
    without_credentials,
)
from segcore.tracking.view import VIEW_TAG, arms_link, arms_view, is_untouched

# How a warning begins of a server that is away.
AWAY = "MLflow does not answer at"
# MLflow's own limit for the tags of an experiment.
MAX_EXPERIMENT_TAG = 20_000
# Leaves room for the link below it.
MAX_DESCRIPTION = 19_000
# When the definition that the experiment has was noted, in Unix seconds.
NOTED_TAG = "ablation_noted"
UNANSWERED = (
    *(ConnectionError, TimeoutError, requests.exceptions.ConnectionError, requests.exceptions.Timeout),
    *(OperationalError, PoolTimeoutError),
)
# What the system says, in the text of an error of `requests`.
SYSTEM_ERROR = re.compile(r"\[Errno -?\d+\] ([A-Za-z ]+)")
# What `requests` says of an answer of a proxy whose server is away.
GATEWAY = re.compile(r"too many (502|503|504) error responses")


@dataclass(frozen=True)
class ExperimentInfo:
    """What an experiment is to say of itself.

    description: Markdown, shown above the runs, its first line also in the list of experiments.  definition: the
    ablation as JSON, kept in the tag `ablation`.  noted: Unix seconds, when this was so; of what several processes say,
    at any time later, the newest stays.
    """

    name: str
    description: str
    definition: str
    noted: float = 0.0


def tracking_client() -> MlflowClient:
    """A client of `tracking_uri()`.

    Raises UserError where that is no address, and what its driver raises where it is a database that does not answer:
    MLflow itself would try that for a hundred seconds.
    """
    require_address()
    uri = tracking_uri()
    if scheme_of(uri) in DATABASES:
        engine = create_sqlalchemy_engine(uri)  # type: ignore[no-untyped-call]
        engine.connect().close()
        engine.dispose()
    return MlflowClient(uri)


def first_line(error: Exception) -> str:
    """What MLflow or its database said, in one line and without the credentials of `tracking_uri()`.

    Of a connection that was not made, what the system says of it, without the layers of libraries around that.
    """
    if is_unanswered(error) and (found := SYSTEM_ERROR.search(str(error))):
        return found[1].strip()
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return without_credentials(str(error) or type(error).__name__).strip().split("\n", 1)[0][:500]


def prepare_store(experiments: Sequence[ExperimentInfo] = (), *, must_answer: bool = False) -> list[str]:
    """Creates the database where there is none yet, and the experiments; to be called once, before any worker starts.

    Returns warnings for the user: a server that does not answer, for everything can be delivered later; a file store
    of an older MLflow that stands in the way of a bare `mlflow ui`.
    must_answer: such a server is an error, too.
    Raises UserError where MLflow cannot be used: a file store was asked for, the database belongs to another version
    of MLflow or cannot be written, the server refuses, the address is none; and as `ensure_experiment` does.
    """
    require_address()
    uri = tracking_uri()
    for experiment in experiments:
        _check_length(experiment)
    try:
        with impatient(), alone(uri):
            client = tracking_client()
            client.search_experiments(max_results=1)
            for experiment in experiments:
                ensure_experiment(experiment, client)
    except UserError:
        raise
    # Whatever the database's driver raises, the answer to the user is the same.
    except Exception as error:
        if must_answer or not _is_away(error):
            raise unusable(error) from error
        return [f"{AWAY} {shown_uri()}: {first_line(error)}\nThe runs go on, and wait for it."]
    return [] if "MLFLOW_TRACKING_URI" in os.environ else _leftover_file_store(Path("mlruns"))


def alone(uri: str) -> AbstractContextManager[object]:
    """Inside, no other process makes the tables of a SQLite file: two at once would be in each other's way.

    Servers and other databases are made before a runner is started.
    """
    path = uri.removeprefix("sqlite:///")
    return make_lease(Path(f"{unquote(path)}.lock")) if path != uri and path else nullcontext()


@contextmanager
def impatient() -> Iterator[None]:
    """Inside, a server is asked once, and given up after seconds: somebody waits.  For one thread only."""
    patience = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    before = {name: os.environ.get(name) for name in patience}
    os.environ.update(patience)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _is_away(error: Exception) -> bool:
    """Whether a server did not answer, or not sensibly, rather than that it refused."""
    if scheme_of(tracking_uri()) not in SERVERS or isinstance(error, InvalidUrlException):
        return False
    if not isinstance(error, MlflowException):
        return True
    return bool(error.get_http_status_code() >= 500)  # type: ignore[no-untyped-call]


def is_unanswered(error: BaseException) -> bool:
    """Whether nobody was there to answer: no connection, one that broke or timed out, a gateway without its server.

    A database that cannot be reached or is locked counts too.  What a server answered, and be it a failure, does not.
    """
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return any(isinstance(cause, UNANSWERED) for cause in causes) or bool(GATEWAY.search(str(error)))


def unusable(error: Exception) -> UserError:
    """What to tell the user of an error of MLflow or its database."""
    advice = "Is MLFLOW_TRACKING_URI right, and does the server run?"
    if tracking_uri().startswith("sqlite:"):
        advice = "Check that the file can be written, or move it away to begin a new one."
    if "out-of-date database schema" in str(error):
        advice = f"Copy the database to a safe place, then run: mlflow db upgrade {shown_uri()}"
    if isinstance(error, ImportError):
        advice = "The database's driver is missing: install it with pip, psycopg[binary] for PostgreSQL, say."
    return UserError(f"MLflow cannot be used at {shown_uri()}: {first_line(error)}\n{advice}")


def _leftover_file_store(artifacts: Path) -> list[str]:
    old = sorted(file.parent.name for file in artifacts.glob("*/meta.yaml"))
    if not old:
        return []
    return [
        f"{artifacts}/ holds experiments of MLflow's old file store ({', '.join(old[:5])}{', …' if old[5:] else ''}). "
        "A bare `mlflow ui` would show those instead of mlflow.db: move them out of mlruns/, or start "
        "`mlflow ui --backend-store-uri sqlite:///mlflow.db`. `mlflow migrate-filestore` converts them."
    ]


def ensure_experiment(experiment: ExperimentInfo, client: MlflowClient) -> str:
    """The id of the experiment, made where it is missing, with description and definition brought up to date.

    A link to the curves by arm is added to the description.  A definition that was noted later than this one stays.
    Raises UserError where an experiment of that name lies in MLflow's trash, and for a definition above 20,000
    characters, which MLflow cannot hold.
    """
    _check_length(experiment)
    found = client.get_experiment_by_name(experiment.name) or _create_experiment(client, experiment.name)
    experiment_id = str(found.experiment_id)
    if found.lifecycle_stage == "deleted":
        raise UserError(
            f"experiment {experiment.name} lies in MLflow's trash. Bring it back with `mlflow experiments restore "
            f"--experiment-id {experiment_id}`, or remove it for good with `mlflow gc --experiment-ids {experiment_id} "
            f"--backend-store-uri {shown_uri()}`; both need MLFLOW_TRACKING_URI={shown_uri()}"
        )
    link = f"[Curves and results by arm]({arms_link(experiment_id)})"
    view = found.tags.get(VIEW_TAG, "")
    # A user's own changes to the view stay.
    tags = {VIEW_TAG: view if view and not is_untouched(view) else arms_view(found.creation_time or 0)}
    described = credentials.without_credentials(experiment.description)
    if _noted(found) <= experiment.noted:
        tags |= {
            "ablation": experiment.definition,
            "mlflow.note.content": f"{described[:MAX_DESCRIPTION].rstrip()}\n\n{link}\n",
            NOTED_TAG: repr(experiment.noted),
        }
    for key, value in tags.items():
        if found.tags.get(key) != value:
            beside_others(partial(client.set_experiment_tag, experiment_id, key, value))
    return experiment_id


def beside_others(make: Callable[[], object]) -> None:
    """Have MLflow make something that another process may be making at this moment.

    Of two its database then refuses one, which finds it made the second time.
    """
    try:
        make()
    # Of the database's driver, or of a server that says so in its own words.
    except Exception as error:
        if is_unanswered(error):
            raise
        make()


def _noted(found: Experiment) -> float:
    try:
        return float(found.tags.get(NOTED_TAG, "0"))
    except ValueError:
        return 0.0  # somebody else's tag


def _check_length(experiment: ExperimentInfo) -> None:
    if len(experiment.definition) > MAX_EXPERIMENT_TAG:
        raise UserError(
            f"ablation {experiment.name}: its definition takes {len(experiment.definition):,} characters as JSON, and "
            f"MLflow holds {MAX_EXPERIMENT_TAG:,}; shorten its texts or divide it into two ablations"
        )


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
