"""The way to MLflow, and what is said where there is none."""

import os
import shlex
import socket
import ssl
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

# Read by MLflow when it is imported, so they come before the imports.  A setting that the user made wins.
for _name, _value in {
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # errors reach us as exceptions
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # with seven, a server that goes away is waited for for minutes
}.items():
    os.environ.setdefault(_name, _value)

from mlflow import MlflowClient  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.store.db.utils import create_sqlalchemy_engine  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

from analysis.results.address import (  # noqa: E402
    DATABASE,
    DATABASES,
    SERVERS,
    SQLITE,
    is_readable,
    scheme_of,
    shown_uri,
    tracking_uri,
    without_credentials,
)

Client = MlflowClient
MAX_LINE = 300
# The packages of databases' drivers, where they are not called like the module.
PACKAGES = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
}
NETWORK_ERRORS = (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError)


class ResultsError(Exception):
    """The results that were asked for are not there or cannot be read; the message says why and what to do."""


def first_line(error: Exception) -> str:
    """What went wrong, in one line: of an error of the network what the system said, and not what was made of it."""
    cause = network_cause(error)
    text = (cause.strerror or str(cause)) if cause else str(error)
    line = without_credentials(text.strip() or type(cause or error).__name__).split("\n", 1)[0]
    return textwrap.shorten(line, MAX_LINE, placeholder=" …").rstrip(".")


def network_cause(error: BaseException) -> OSError | None:
    """The innermost error of a connection, of those that led to this one."""
    found: OSError | None = None
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, NETWORK_ERRORS):
            found = current
        current = current.__cause__ or current.__context__
    return found


@contextmanager
def reading() -> Iterator[None]:
    """Inside, an error of MLflow, its database or its server is a ResultsError of one line."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        advice = "is MLFLOW_TRACKING_URI right, and may it be read?"
        if "out-of-date database schema" in str(error):
            advice = f"copy the database to a safe place, then run `mlflow db upgrade {shown_uri()}`"
        elif is_server(tracking_uri()):
            advice = "does the server run, and is MLFLOW_TRACKING_URI right?"
        raise ResultsError(f"MLflow cannot be read at {shown_uri()}: {first_line(error)}; {advice}") from error


def is_server(uri: str) -> bool:
    """Whether MLflow is asked over the network."""
    return scheme_of(uri) in SERVERS


def ask_database(uri: str) -> None:
    """Raises what the driver raises: MLflow itself would try a database that is away for a hundred seconds."""
    if scheme_of(uri) in DATABASES:
        engine = create_sqlalchemy_engine(uri)  # type: ignore[no-untyped-call]
        engine.connect().close()
        engine.dispose()


def make_client() -> Client:
    """A client of `tracking_uri()`.  Raises ResultsError where there is nothing to read, or nobody answers."""
    uri = tracking_uri()
    if not is_readable(uri):
        raise ResultsError(
            "MLFLOW_TRACKING_URI is no address that can be read; a server's is like http://127.0.0.1:5000; in a "
            "password, # is written as %23, / as %2F, ? as %3F, @ as %40, [ as %5B"
        )
    # MLflow would make an empty database there.
    if uri.startswith(SQLITE) and not Path(unquote(uri.removeprefix(SQLITE))).is_file():
        if os.environ.get("MLFLOW_TRACKING_URI"):
            raise ResultsError(
                f"there is no database at MLFLOW_TRACKING_URI={shown_uri()}; `python runner.py FILE` makes it"
            )
        raise ResultsError(
            f"there is no {DATABASE} in this folder; go to the folder in which `python runner.py FILE` ran, or set "
            "MLFLOW_TRACKING_URI"
        )
    try:
        with reading(), impatience():
            ask_database(uri)
            client = Client(uri)
            if is_server(uri):
                client.search_experiments(max_results=1)
    except ImportError as error:
        raise ResultsError(describe_missing_driver(error)) from error
    return client


def describe_missing_driver(error: ImportError) -> str:
    """What to install for a database whose driver cannot be imported."""
    module = (error.name or "").partition(".")[0]
    package = PACKAGES.get(module, module)
    advice = f"`pip install {shlex.quote(package)}` installs it" if package else "install it for this Python"
    missing = f"the driver of that database is missing ({first_line(error)})"
    return f"MLflow cannot be read at {shown_uri()}: {missing}; {advice}"


@contextmanager
def impatience() -> Iterator[None]:
    """Inside, a server is asked once and given up after twenty seconds, so that a wrong address is told at once."""
    patience = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    before = {name: os.environ.get(name) for name in patience}
    os.environ.update(patience)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
