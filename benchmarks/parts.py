"""Small parts of a run: `python -m benchmarks.parts`.

The start of a worker, forked against begun as a program; and an epoch's numbers on their way to MLflow, through the
run's folder against `mlflow.log_metrics` in the training loop.  Medians, or means over a run's epochs.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import mlflow
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from segcore import tracking
from segcore.ablation import load_ablation
from segcore.execution import worker
from segcore.execution.attempts import start_attempt
from segcore.execution.folder import RunFolder
from segcore.execution.nursery import open_nursery
from segcore.execution.planning import describe_experiment
from segcore.execution.stage import Stage
from segcore.execution.variables import PROJECT, worker_environment
from segcore.plan import Facts, Run, expand

REPEATS = 5
EPOCHS = (50, 300)
METRICS = (
    "train/loss",
    "val/loss",
    "val/dice_per_image",
    "val/dice_dataset",
    "val/dice_batch_soft",
    "lr",
    "images_per_second",
    "epoch_seconds",
)


def seconds_of(work: Callable[[], object]) -> float:
    """How long the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def time_starts(place: Path) -> dict[str, float]:
    """Seconds until a worker is ready to begin: forked, and as a program that imports everything."""
    started = place / "started"

    def stand_in(folder: RunFolder, stage: Stage) -> int:
        started.touch()
        return 0

    forked = []
    with patch.object(worker, "main", stand_in), open_nursery() as nursery, Path(os.devnull).open("wb") as log:
        assert nursery is not None
        for _ in range(REPEATS + 1):
            started.unlink(missing_ok=True)
            start = time.perf_counter()
            process = nursery.start(place, Stage.training, log.fileno(), [log.fileno()], {})
            while not started.exists():
                time.sleep(0.001)
            forked.append(time.perf_counter() - start)
            process.wait()
    command = [sys.executable, "-c", "import segcore.execution.worker"]
    environment = worker_environment()
    spawned = [
        seconds_of(lambda: subprocess.run(command, env=environment, check=True))  # noqa: S603
        for _ in range(REPEATS)
    ]
    # The first waits for the nursery's imports.
    return {"worker, forked": statistics.median(forked[1:]), "worker, a program": statistics.median(spawned)}


def epoch_of(number: int) -> dict[str, float]:
    """An epoch's metrics."""
    return dict.fromkeys(METRICS, 1 / number)


def log_directly(epochs: int) -> float:
    """Seconds an epoch of logging in the training loop."""
    mlflow.set_experiment("direct")
    with mlflow.start_run():
        return (
            seconds_of(lambda: [mlflow.log_metrics(epoch_of(number), step=number) for number in range(1, epochs + 1)])
            / epochs
        )


def log_through_folder(run: Run, experiment: tracking.ExperimentInfo, epochs: int) -> tuple[float, float]:
    """Seconds an epoch in the worker, and in the runner if it delivers after every single epoch."""
    folder = start_attempt(run, "float32")
    (folder.path / "epochs.jsonl").unlink(missing_ok=True)
    folder.set_state("running")
    delivery = tracking.Delivery(folder.path, experiment, run.arm, run.seed, "loss.name", run.fingerprint, "plan")
    client = tracking.tracking_client()
    tracking.deliver(delivery, client)
    written = delivered = 0.0
    for number in range(1, epochs + 1):
        line = {"epoch": number, "time": time.time(), "metrics": epoch_of(number)}
        written += seconds_of(lambda line=line: folder.append("epochs", line))  # type: ignore[misc]
        delivered += seconds_of(lambda: tracking.deliver(delivery, client))
    return written / epochs, delivered / epochs


def main() -> None:
    """Measure all in a folder of its own, and print a table."""
    console, rows = Console(), list[tuple[str, float]]()
    plan = expand(
        load_ablation(PROJECT / "experiments" / "loss.yaml", preset="demo"), lambda config: Facts("data", "float32")
    )
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{place}/mlflow.db"
        rows += time_starts(Path(place)).items()
        experiment = describe_experiment(plan.ablation)
        tracking.prepare_store([experiment])
        for epochs, run in zip(EPOCHS, plan.runs, strict=False):
            written, delivered = log_through_folder(run, experiment, epochs)
            rows += [
                (f"an epoch of {epochs}, in the training loop: mlflow.log_metrics", log_directly(epochs)),
                (f"an epoch of {epochs}, in the training loop: a line in the folder", written),
                (f"an epoch of {epochs}, beside it: delivered to MLflow", delivered),
            ]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("ms", justify="right")
    for name, seconds in rows:
        table.add_row(name, f"{1e3 * seconds:.2f}")
    console.print(table)
    console.print(describe_machine(torch.device("cpu")))


if __name__ == "__main__":
    main()
