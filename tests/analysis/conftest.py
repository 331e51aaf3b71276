"""Results of every ablation in `experiments/`, fabricated once; tests read them, or spoil a copy of their own."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.definition import read_definitions
from analysis.reporting.gather import load_material
from analysis.reporting.material import Material
from analysis.results import Client, make_client
from tests.fabricate import SECONDS_BETWEEN_RUNS, STARTED, fabricate_ablation

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
SEEDS = (42, 43, 44)
# One that was never run; runs that did not finish.
NEVER_RUN = "augmentation"
STATES = {
    "optimizer": {("SGD", 44): ("failed", "out of GPU memory: lower data.batch_size")},
    "lr_sweep": {("lr 3e-5", 43): ("diverged", "the loss is nan in epoch 7")},
    "precision": {("float16", seed): ("missing", "float16 needs a CUDA GPU") for seed in SEEDS},
}

FILES, _ = read_definitions(EXPERIMENTS)

# The definition of an ablation without hypotheses.
PLAIN = json.dumps(
    {"name": "plain", "title": "Plain", "question": "Is a better?", "factor": "optimizer.lr"}
    | {"arms": {"a": {}, "b": {}}, "seeds": [1]}
)


@pytest.fixture
def empty_project(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a database that holds nothing yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture(scope="session")
def results_project(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A project in which all ablations but one were run under the preset `demo` with three seeds.

    Not to be changed: `project` is a copy for that.  Experiments are called NAME-demo.
    """
    folder = tmp_path_factory.mktemp("results")
    shutil.copy(empty_database, folder / "mlflow.db")
    started = STARTED
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for source in sorted(EXPERIMENTS.glob("*.yaml")):
            if source.stem != NEVER_RUN:
                states = STATES.get(source.stem)
                fabricate_ablation(
                    folder, source, preset="demo", seeds=SEEDS, states=states, reuse=True, started=started
                )
                started += 100 * SECONDS_BETWEEN_RUNS
    return folder


@pytest.fixture
def project(tmp_path: Path, results_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a copy of `results_project` that a test may spoil."""
    folder = tmp_path / "project"
    shutil.copytree(results_project, folder)
    move_artifacts(folder / "mlflow.db", results_project, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def move_artifacts(database: Path, old: Path, new: Path) -> None:
    """MLflow keeps absolute places of artifacts: point them to the copy."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            statement = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            connection.execute(statement, (str(old), str(new)))


@pytest.fixture
def results_client(results_project: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Of `results_project`, which is the current folder."""
    monkeypatch.chdir(results_project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return make_client()


@pytest.fixture(scope="module")
def load(results_project: Path) -> Iterator[Callable[[str], Material]]:
    """A function that loads the material of an ablation; each once."""
    loaded: dict[str, Material] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(results_project)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client = make_client()

        def load_one(name: str) -> Material:
            if name not in loaded:
                loaded[name] = load_material(client, f"{name}-demo", None, FILES)
            return loaded[name]

        yield load_one


def changed(material: Material, **columns: dict[tuple[str, int], Any]) -> Material:
    """The material with other values in the runs: {column: {(arm, seed): value}}."""
    runs = material.results.runs.copy()
    for column, values in columns.items():
        runs[column] = runs[column].astype(object)
        for (arm, seed), value in values.items():
            runs.loc[(runs["arm"] == arm) & (runs["seed"] == seed), column] = value
    return replace(material, results=replace(material.results, runs=runs))


def make_plain(client: Client) -> str:
    """The id of a new experiment `plain`, with a definition and without runs."""
    number = client.create_experiment("plain")
    client.set_experiment_tag(number, "ablation", PLAIN)
    return str(number)


def fabricate_small(project: Path, write_ablation: Callable[[], Path], **changes: Any) -> Client:
    """A client of the experiment `small`: arms `large` and `small`, seeds 1 and 2, two epochs each."""
    settings: dict[str, Any] = {"epochs": 2, "num_images": 8} | changes
    fabricate_ablation(project, write_ablation(), **settings)
    return make_client()
