"""Real calls of runner.py on a small ablation, disturbed, and what is left of them: in `runs/` and in MLflow."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
# Of a call; machines are slow, and shared.
SECONDS = 600
# Metrics that tell of time and memory, and so differ from run to run.
OF_TIME = ("epoch_seconds", "images_per_second", "train_seconds", "peak_memory_gib")

ABLATION = {
    "name": "faults",
    "title": "Faults",
    "question": "Does a disturbed run come to the same numbers?",
    "settings": {
        "data": {"format": "synthetic", "synthetic_images": 60, "image_size": 32, "batch_size": 6},
        "trainer": {"epochs": 3, "precision": "float32"},
        "execution": {"device": "cpu", "threads": 1, "checkpoint_seconds": 0.2},
    },
    "factor": "optimizer.lr",
    "arms": {"one": {"optimizer.lr": 1e-3}},
    "seeds": [1],
}


@dataclass
class World:
    """A folder of its own with an ablation file, in which runner.py is called as a user does.

    has_report: whether the calls bring the report in MLflow up to date.
    """

    folder: Path
    has_report: bool = False

    def write(self, **changes: object) -> None:
        """The ablation file, with changes at its top level; settings are merged by group."""
        definition = json.loads(json.dumps(ABLATION)) | {key: value for key, value in changes.items() if value}
        if isinstance(settings := changes.get("settings"), dict):
            merged = {key: dict(value) for key, value in ABLATION["settings"].items()}  # type: ignore[attr-defined]
            for group, values in settings.items():
                merged[group] = merged.get(group, {}) | values
            definition["settings"] = merged
        (self.folder / "faults.yaml").write_text(yaml.safe_dump(definition, sort_keys=False))

    def disturb(self, code: str) -> None:
        """Have the calls from now on do something of their own first, such as to spoil a function of the suite."""
        head = f"import sys\nsys.path.insert(0, {str(PROJECT)!r})\n"
        run = f"import runpy\nrunpy.run_path({str(PROJECT / 'runner.py')!r}, run_name='__main__')\n"
        (self.folder / "disturbed.py").write_text(head + code + "\n" + run)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """A call that goes on in the background."""
        disturbed = self.folder / "disturbed.py"
        script = disturbed if disturbed.exists() else PROJECT / "runner.py"
        command = [
            sys.executable,
            str(script),
            "faults.yaml",
            *([] if self.has_report else ["--no-report"]),
            *arguments,
        ]
        variables = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        with (self.folder / "calls.txt").open("ab") as output:
            return subprocess.Popen(
                command, cwd=self.folder, env=variables | environment, stdout=output, stderr=output, text=True
            )

    def call(self, *arguments: str, **environment: str) -> int:
        """A call from start to end; its exit status."""
        process = self.start(*arguments, **environment)
        try:
            return process.wait(SECONDS)
        finally:
            process.kill()

    @property
    def output(self) -> str:
        """All that the calls printed."""
        return (self.folder / "calls.txt").read_text()

    def run_folders(self) -> list[Path]:
        """Of all runs that were begun."""
        return [path.parent for path in sorted((self.folder / "runs").glob("*/run.json"))]

    def run_folder(self) -> Path:
        """Of the only run."""
        (path,) = self.run_folders()
        return path

    def state(self) -> dict[str, object]:
        """What the only run's folder says became of it."""
        return read_json(self.run_folder() / "state.json")

    def worker(self) -> int | None:
        """The number of a process that trains here now; None where there is none."""
        for path in self.run_folders():
            state = read_json(path / "state.json")
            number: int = state.get("pid", 0)
            if state.get("state") == "running" and number and Path(f"/proc/{number}").exists():
                return number
        return None

    def wait_for_worker(self, call: subprocess.Popen[str]) -> int | None:
        """The number of the first process that trains; None where the call ends before there is one."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and call.poll() is None:
            if number := self.worker():
                return number
            time.sleep(0.01)
        return None

    def numbers(self) -> dict[str, object]:
        """All numbers of all runs but those that tell of time, by fingerprint: they may not depend on any fault."""
        return {path.name: numbers_of(path) for path in self.run_folders()}

    def tracked_epochs(self) -> dict[tuple[str, str, int], int]:
        """How often MLflow holds each metric of each epoch: (arm and seed, metric, epoch) to a number."""
        with sqlite3.connect(self.folder / "mlflow.db") as connection:
            rows = connection.execute(
                "SELECT runs.name, metrics.key, metrics.step FROM metrics JOIN runs USING (run_uuid) "
                "WHERE runs.lifecycle_stage = 'active' AND metrics.key IN ('train/loss', 'val/dice_per_image', 'lr')"
            ).fetchall()
        return Counter(rows)

    def tracked_runs(self) -> list[tuple[str, str]]:
        """Name and status of each training in MLflow."""
        return [run for run in self._active_runs() if run[0] != "report"]

    def tracked_reports(self) -> int:
        """How many reports MLflow holds."""
        return sum(name == "report" for name, _ in self._active_runs())

    def _active_runs(self) -> list[tuple[str, str]]:
        with sqlite3.connect(self.folder / "mlflow.db") as connection:
            return connection.execute("SELECT name, status FROM runs WHERE lifecycle_stage = 'active'").fetchall()


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where there is none."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content


def numbers_of(folder: Path) -> tuple[list[dict[str, float]], dict[str, float], str]:
    """A run's epochs in their order, its results, and a hash of its best weights."""
    from segcore.checkpoint import checksum_of, read_checkpoint

    lines = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines() if line]
    epochs = [{"epoch": line["epoch"], **without_times(line["metrics"])} for line in lines]
    results = read_json(folder / "results.json").get("metrics", {})
    tensors, metadata = read_checkpoint(folder / "best.safetensors")
    return epochs, without_times(results), checksum_of(tensors, {"epoch": str(metadata["epoch"])})


def without_times(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics that do not tell of time."""
    return {key: value for key, value in metrics.items() if key not in OF_TIME}


def processes_in(folder: Path) -> Iterator[int]:
    """The numbers of all processes that work in a folder."""
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and (path / "cwd").resolve() == folder.resolve():
                yield int(path.name)
        except OSError:
            continue


def kill_soon(
    world: World, call: subprocess.Popen[str], victim: str, most_seconds: float, chance: random.Random
) -> bool:
    """Kill the worker or the runner of a call at a random moment after the first worker's start; whether it lived.

    victim: `worker` or `runner`; between two workers the next one is waited for.
    """
    if world.wait_for_worker(call) is None:
        return False
    time.sleep(chance.uniform(0, most_seconds))
    while call.poll() is None:
        number = call.pid if victim == "runner" else world.worker()
        if number is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
                return True
        time.sleep(0.005)
    return False
