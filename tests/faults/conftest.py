"""Worlds for calls that are disturbed, and the undisturbed one that they are held against."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.execution.conftest import finish, make_plan
from tests.faults.calls import World

__all__ = ["finish", "make_plan"]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world whose only run was trained in peace."""
    world = World(tmp_path_factory.mktemp("undisturbed"))
    world.write()
    assert world.call() == 0, world.output
    return world


@pytest.fixture
def make_world(
    tmp_path_factory: pytest.TempPathFactory, undisturbed: World, empty_database: Path
) -> Callable[..., World]:
    """A function that makes a world with the same data and MLflow's tables, without runs; changes: of its ablation."""

    def make(**changes: object) -> World:
        world = World(tmp_path_factory.mktemp("world"))
        world.write(**changes)
        shutil.copytree(undisturbed.folder / "data", world.folder / "data")
        shutil.copy(empty_database, world.folder / "mlflow.db")
        return world

    return make
