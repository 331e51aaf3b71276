"""What it costs to deliver runs: `python -m benchmarks.deliveries`.

    --runs 10 --epochs 100     how many, and how long each was trained
    --weights 94               MB of a run's weights, and of its model once more

Runs are made up by `tests.fabricate`, with all metrics, params, tags, tables and sheets of a run, and delivered by
`segcore.tracking` to SQLite, to `mlflow server` on SQLite, and to `mlflow server` on PostgreSQL.  Prints for each the
requests and seconds a run and what the database grew by; what the runs share (experiment, tables) is made before.
"""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
import yaml
from mlflow.models import Model

from benchmarks.command_line import at_least
from benchmarks.load_results import database, size_of
from segcore import tracking
from tests.fabricate import Folder, fabricate_ablation
from tests.mlflow_server import serve

STORES = {"SQLite": (False, False), "server, SQLite": (True, False), "server, PostgreSQL": (True, True)}
REQUESTS: list[str] = []


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Requests, seconds and bytes of delivering runs to MLflow.")
    parser.add_argument("--runs", type=at_least(1), default=10)
    parser.add_argument("--epochs", type=at_least(1), default=100)
    parser.add_argument("--weights", type=int, default=94, help="MB of a run's weights, and of its model once more")
    asked = parser.parse_args()
    count_requests()
    add_weights(asked.weights * 1_000_000)
    print(f"{asked.runs} runs of {asked.epochs} epochs, {asked.weights} MB of weights; a run:")
    for name, (has_server, is_postgresql) in STORES.items():
        with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
            measure(name, Path(place), asked.runs, asked.epochs, has_server, is_postgresql)


def measure(name: str, folder: Path, num_runs: int, num_epochs: int, has_server: bool, is_postgresql: bool) -> None:
    """Delivers the runs to one store and prints what a run took."""
    with database(folder, is_postgresql) as store, address_of(folder, store, has_server) as address:
        os.environ["MLFLOW_TRACKING_URI"] = address
        tracking.prepare_store()
        deliver(folder, [0], 1, "first.yaml")
        before, start = size_of(store), time.perf_counter()
        REQUESTS.clear()
        deliver(folder, list(range(1, num_runs + 1)), num_epochs, "many.yaml")
        seconds = (time.perf_counter() - start) / num_runs
        grown = (size_of(store) - before) / num_runs
    artifacts = sum(file.stat().st_size for part in ("artifacts", "mlruns") for file in (folder / part).rglob("*.*"))
    print(
        f"{name}: {len(REQUESTS) / num_runs:.1f} requests, {seconds:.2f} s, database {grown / 1e3:,.0f} kB, "
        f"artifacts {artifacts / (num_runs + 1) / 1e6:,.1f} MB",
        flush=True,
    )


@contextlib.contextmanager
def address_of(folder: Path, store: str, has_server: bool) -> Iterator[str]:
    """The tracking address: a server's with its default of four workers, or the database's own."""
    if not has_server:
        yield store
        return
    with serve(folder, 4, store=store) as address:
        yield address


def deliver(folder: Path, seeds: list[int], num_epochs: int, file: str) -> None:
    """Makes up the runs of one arm and delivers them."""
    arms = {"lr 1e-3": {"optimizer.lr": 1e-3}, "lr 1e-4": {"optimizer.lr": 1e-4}}
    ablation: dict[str, Any] = {"name": Path(file).stem, "title": "Many", "question": "What does a delivery cost?"}
    ablation |= {"factor": "optimizer.lr", "arms": arms, "seeds": seeds}
    (folder / file).write_text(yaml.safe_dump(ablation, sort_keys=False))
    states = {("lr 1e-4", seed): ("not run", "") for seed in seeds}
    fabricate_ablation(folder, folder / file, states=states, epochs=num_epochs)


def add_weights(size: int) -> None:
    """Made-up runs have no weights and no model, which are nearly all of a run's bytes: give them some."""
    write_results = Folder.write_results

    def write_all(self: Folder, *arguments: object) -> None:
        write_results(self, *arguments)  # type: ignore[arg-type]
        (self.path / "best.safetensors").write_bytes(bytes(size))
        (self.path / "model" / "data").mkdir(parents=True)
        (self.path / "model" / "data" / "model.pt2").write_bytes(bytes(size))
        Model().save(str(self.path / "model" / "MLmodel"))

    Folder.write_results = write_all  # type: ignore[method-assign,assignment]


def count_requests() -> None:
    """Notes every request that leaves this process."""
    send = requests.Session.send

    def note(self: requests.Session, request: requests.PreparedRequest, **options: object) -> requests.Response:
        REQUESTS.append(str(request.url))
        return send(self, request, **options)  # type: ignore[arg-type]

    requests.Session.send = note  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    main()
