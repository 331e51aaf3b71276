"""What the thread that feeds MLflow costs the runner while the server is away: CPU seconds a minute.

python -m benchmarks.server_away

Eight runs write an epoch a second each, for a minute, in each of three cases: the server refuses connections, it
accepts them and never answers, it is there (a SQLite file).  Counts the processor time of this process, its main
thread left out.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from segcore import tracking
from tests.deliverers import black_hole
from tests.run_folders import RunFolder

RUNS, SECONDS = 8, 60


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """The address of a server that is not there."""
    yield "http://127.0.0.1:9"


@contextlib.contextmanager
def database() -> Iterator[str]:
    """A database that is there."""
    uri = f"sqlite:///{Path.cwd()}/mlflow.db"
    os.environ["MLFLOW_TRACKING_URI"] = uri
    tracking.prepare_store()
    yield uri


CASES = {"refuses connections": refused, "never answers": black_hole, "is there (SQLite)": database}


def processor_seconds() -> float:
    """Of all threads but this one."""
    return time.process_time() - time.thread_time()


def measure(place: Path, uri: str) -> tuple[float, float]:
    """Processor seconds of the feeder a minute, and seconds that its end was waited for."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    folders = [RunFolder(place / f"f{seed}") for seed in range(RUNS)]
    feeder = tracking.Feeder()
    for seed, folder in enumerate(folders):
        feeder.watch(folder.note("away", seed=seed))
    before = processor_seconds()
    feeder.start()
    for epoch in range(1, SECONDS + 1):
        for folder in folders:
            folder.epoch(epoch)
        time.sleep(1.0)
    used, begin = processor_seconds() - before, time.perf_counter()
    feeder.close()
    return used * 60 / SECONDS, time.perf_counter() - begin


def main() -> None:
    """Measure each case in a folder of its own, and print a table."""
    console, table = Console(), Table(box=box.SIMPLE_HEAD)
    for title in ("the server", "CPU s a minute", "s at the end"):
        table.add_column(title, justify="left" if title == "the server" else "right")
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as place, contextlib.chdir(place), case() as uri:
            used, waited = measure(Path(place) / "runs", uri)
        table.add_row(name, f"{used:.2f}", f"{waited:.1f}")
    console.print(table)
    console.print(describe_machine(torch.device("cpu")))


if __name__ == "__main__":
    main()
