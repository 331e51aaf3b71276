"""How long `analysis.results` takes to load an ablation of many runs: `python -m benchmarks.load_results`.

    --runs 1000 --epochs 300     the ablation's size, with all metrics, params and tags that a run has
    --server [WORKERS]           through `mlflow server` with four workers (its default), or so many; else without one
    --postgresql                 from PostgreSQL, a server of its own with no data before; else from SQLite
    --folder DIR                 where the data is made, and found again the next time

Ten runs, one an arm, are made by `tests.fabricate` and go through `segcore.tracking`; their rows are then copied in SQL
for the other seeds, because delivering a thousand runs takes an hour.  Prints the median of three.

Measured on two cores of an AMD EPYC with little else to do, 2026-11-22, median of 3: 4.2 s from SQLite; through a
server 18 s with four workers (once 26) and 27 s with one.  Of that this process computes 4.3 s, the server 24: with one
worker, that is what one waits for.

The server's 24 s are some 35 us for each of the 600,000 points: 20 for a database object, an entity and a dictionary
each, 15 for the garbage collector that walks over them.  One request at a time or four, of 20 runs or 80, cost it the
same within a third; of 3 runs, twice as much.  It has no cheaper request: run by run a point takes 150 us, and with the
sampling request of its charts 260.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import yaml
from sqlalchemy import Connection, create_engine, inspect, text

from analysis.results import load_results, make_client
from benchmarks.command_line import at_least
from segcore import tracking
from tests.fabricate import fabricate_ablation
from tests.mlflow_server import serve
from tests.postgresql import NotInstalledError, postgresql

NUM_ARMS = 10
REPEATS = 3
NAME = "many"
# The tables of MLflow that hold a run, and the column that names it.
TABLES = {
    "runs": "run_uuid",
    "params": "run_uuid",
    "tags": "run_uuid",
    "latest_metrics": "run_uuid",
    "metrics": "run_uuid",
    "inputs": "destination_id",
}


def make_runs(folder: Path, num_runs: int, num_epochs: int, store: str) -> None:
    """An ablation of ten arms in the database at the address `store`, or of fewer where fewer runs are wanted."""
    num_arms = min(NUM_ARMS, num_runs)
    seeds = range(-(-num_runs // num_arms))
    ablation = {
        "name": NAME,
        "title": "Many",
        "question": "How long does reading take?",
        "factor": "optimizer.lr",
        "arms": {f"lr {number}e-4": {"optimizer.lr": number * 1e-4} for number in range(1, num_arms + 1)},
        "seeds": [0],
    }
    (folder / f"{NAME}.yaml").write_text(yaml.safe_dump(ablation, sort_keys=False))
    os.environ["MLFLOW_TRACKING_URI"] = store
    tracking.prepare_store()
    fabricate_ablation(folder, folder / f"{NAME}.yaml", declared=list(seeds), epochs=num_epochs)
    with create_engine(store).begin() as connection:
        columns = {table: [column["name"] for column in inspect(connection).get_columns(table)] for table in TABLES}
        originals = connection.execute(text("SELECT run_uuid FROM runs")).scalars().all()
        for seed in seeds[1:]:
            for original in originals:
                copy_run(connection, columns, original, seed)


def copy_run(connection: Connection, columns: Mapping[str, Sequence[str]], original: str, seed: int) -> None:
    """The rows of a run once more, as those of another seed.  columns: of each table."""
    ids = {"original": original, "run_id": uuid.uuid4().hex, "input_id": uuid.uuid4().hex}
    for table, key in TABLES.items():
        replaced = {key: ":run_id", "input_uuid": ":input_id"}
        names = ", ".join(f'"{column}"' for column in columns[table])
        values = ", ".join(replaced.get(column, f'"{column}"') for column in columns[table])
        statement = f'INSERT INTO {table} ({names}) SELECT {values} FROM {table} WHERE "{key}" = :original'  # noqa: S608
        connection.execute(text(statement), ids)
    update = "UPDATE tags SET value = :seed WHERE key = 'seed' AND run_uuid = :run_id"
    connection.execute(text(update), {"seed": str(seed), "run_id": ids["run_id"]})


def measure() -> None:
    """Loads a few times, and prints how long it took, who computed how long, and how much there was."""
    seconds = []
    for _ in range(REPEATS):
        start, start_cpu, start_server = time.perf_counter(), time.process_time(), server_seconds()
        results = load_results(make_client(), NAME)
        seconds.append(time.perf_counter() - start)
        computed, now = time.process_time() - start_cpu, server_seconds()
        served = sum(seconds - start_server.get(number, 0.0) for number, seconds in now.items())
        print(f"{seconds[-1]:.1f} s; computed: this process {computed:.1f} s, the server {served:.1f} s", flush=True)
    assert not results.notes, results.notes
    print(
        f"median of {REPEATS}: {statistics.median(seconds):.1f} s for {len(results.runs):,} runs and "
        f"{len(results.epochs):,} rows of epochs"
    )


def server_seconds() -> dict[int, float]:
    """How long each process that this one started has computed, by its number; those that have ended are left out."""
    times = {process.pid: process.cpu_times() for process in psutil.Process().children(recursive=True)}
    return {number: float(time.user + time.system) for number, time in times.items()}


@contextlib.contextmanager
def place(folder: Path | None) -> Iterator[Path]:
    """The folder to work in: the one that is given, or one that is removed afterwards."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.absolute()
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="How long analysis.results takes to load an ablation of many runs.")
    parser.add_argument("--runs", type=at_least(1), default=1000)
    parser.add_argument("--epochs", type=at_least(1), default=300)
    parser.add_argument(
        "--server",
        type=int,
        nargs="?",
        const=4,
        metavar="WORKERS",
        help="through mlflow server, instead of from SQLite",
    )
    parser.add_argument("--postgresql", action="store_true", help="from PostgreSQL, instead of from SQLite")
    parser.add_argument("--folder", type=Path, help="where the data is made, and found again the next time")
    asked = parser.parse_args()
    with place(asked.folder) as folder, contextlib.chdir(folder), database(folder, asked.postgresql) as store:
        if asked.postgresql or not (folder / "mlflow.db").exists():
            make_runs(folder, asked.runs, asked.epochs, store)
        os.environ["MLFLOW_TRACKING_URI"] = store
        print(f"the database: {size_of(store) / 1e6:,.0f} MB")
        if not asked.server:
            measure()
            return
        with serve(folder, asked.server, store=store) as os.environ["MLFLOW_TRACKING_URI"]:
            measure()


@contextlib.contextmanager
def database(folder: Path, is_postgresql: bool) -> Iterator[str]:
    """The address of a database: one of a PostgreSQL server that is started and taken down again, or a file."""
    if not is_postgresql:
        yield f"sqlite:///{folder}/mlflow.db"
        return
    try:
        with postgresql() as server:
            yield server.create_database("mlflow")
    except NotInstalledError as error:
        raise SystemExit(str(error)) from error


def size_of(store: str) -> int:
    """Bytes that a database takes on disk."""
    if store.startswith("sqlite"):
        return Path(store.removeprefix("sqlite:///")).stat().st_size
    with create_engine(store).connect() as connection:
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


if __name__ == "__main__":
    main()
