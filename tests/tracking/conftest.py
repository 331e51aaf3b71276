"""A tracking database for each test, and run folders as a worker writes them."""

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from segcore import tracking
from segcore.tracking.exporting import save_model

STARTED = 1_700_000_000.0
SETTINGS = {
    "data": {"name": "pets", "root": "data/pets", "image_size": 8, "batch_size": 2, "test_fraction": None},
    "evaluation": {"report_thresholds": [0.4, 0.5]},
    "optimizer": {"name": "adamw", "lr": 1e-3},
    "seed": 42,
}
ENVIRONMENT = {"git_commit": "0123abc", "git_dirty": False, "device": "cpu", "threads": 2, "torch": "2.15.0"}
DATA = {
    "name": "pets",
    "fingerprint": "ab" * 32,
    "root": "data/pets",
    "sizes": {"train": 4, "validation": 2, "test": 3},
    "skipped": [{"name": "cat_7", "reason": "truncated"}],
}
RESULTS = {"test/dice_per_image": 0.8, "test_at_0.4/dice_batch": 0.81, "threshold": 0.43, "train_seconds": 40.0}


@pytest.fixture
def project(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a database of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def client(project: Path) -> MlflowClient:
    return tracking.tracking_client()


class RunFolder:
    """Plays the worker: writes what a run's folder holds, step by step."""

    def __init__(self, path: Path, delay: float = 0.0) -> None:
        self.path, self.delay = path, delay
        path.mkdir(parents=True)
        self.write("run.json", {"fingerprint": path.name, "attempt": uuid.uuid4().hex, "created": STARTED})
        self.write("environment.json", ENVIRONMENT)
        self.write("data.json", DATA)
        (path / "settings.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
        self.state("running")

    def write(self, name: str, content: Any) -> None:
        (self.path / name).write_text(json.dumps(content), encoding="utf-8")

    def state(self, state: str, reason: str | None = None, ended: float | None = None) -> None:
        started = STARTED + self.delay
        self.write("state.json", {"state": state, "reason": reason, "started": started, "ended": ended, "pid": 1})

    def epoch(self, epoch: int, **metrics: float) -> None:
        metrics = {"train/loss": 1 / epoch, "val/dice_per_image": 1 - 1 / epoch, **metrics}
        self._append("epochs.jsonl", {"epoch": epoch, "time": STARTED + 10 * epoch, "metrics": metrics})

    def sample(self, step: int) -> None:
        metrics = {"system/cpu_utilization_percentage": 90.0 + step}
        self._append("system.jsonl", {"time": STARTED + step, "step": step, "metrics": metrics})

    def _append(self, name: str, content: Any) -> None:
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")

    def finish(self) -> None:
        """Results, files, weights; the state as the last, as the worker does it."""
        self.write("results.json", {"time": STARTED + 50, "metrics": RESULTS})
        (self.path / "artifacts" / "sheets").mkdir(parents=True)
        (self.path / "artifacts" / "config.yaml").write_text("seed: 42\n", encoding="utf-8")
        (self.path / "artifacts" / "sheets" / "best.png").write_bytes(b"picture")
        (self.path / "log.txt").write_text("epoch 1\n", encoding="utf-8")
        (self.path / "best.safetensors").write_bytes(b"weights of " + self.path.name.encode())
        self.state("finished", ended=STARTED + 60)

    def delivery(
        self, experiment: str, arm: str = "lr 1e-3", seed: int = 42, fingerprint: str | None = None
    ) -> tracking.Delivery:
        return tracking.Delivery(
            folder=self.path,
            experiment=tracking.ExperimentInfo(tracking.tracking_client().get_experiment(experiment).name, "", "{}"),
            arm=arm,
            seed=seed,
            factor="optimizer.lr",
            fingerprint=fingerprint or self.path.name,
            plan="plan1",
        )


@pytest.fixture
def make_folder(project: Path) -> Callable[..., RunFolder]:
    return lambda name, delay=0.0: RunFolder(project / "runs" / name, delay)


@pytest.fixture
def experiment(client: MlflowClient) -> str:
    return client.create_experiment("lr_sweep")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of one convolution, to be copied into run folders."""
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(torch.nn.Conv2d(3, 1, kernel_size=3, padding=1).eval(), folder, image_size=8)
    return folder
