"""A PostgreSQL server, and `mlflow server` on one of its databases."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mlflow_server import serve
from tests.postgresql import NotInstalledError, PostgreSQL, postgresql


@dataclass(frozen=True)
class Server:
    """`mlflow server`: its address, its database and the folder with its artifacts and its log."""

    address: str
    database: PostgreSQL
    folder: Path


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    """A running PostgreSQL server; skips the tests where there is none."""
    try:
        with postgresql() as server:
            yield server
    except NotInstalledError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def server(database: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`mlflow server` with two workers on the database `mlflow`."""
    folder = tmp_path_factory.mktemp("server")
    with serve(folder, workers=2, store=database.create_database("mlflow")) as address:
        yield Server(address, database, folder)
