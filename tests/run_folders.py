"""Run folders as a worker writes them, without training."""

import json
import uuid
from pathlib import Path
from typing import Any

import yaml

from segcore import tracking

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


class RunFolder:
    """Plays the worker: writes what a run's folder holds, step by step."""

    def __init__(self, path: Path, delay: float = 0.0) -> None:
        self.path, self.delay = path, delay
        path.mkdir(parents=True)
        self.run = {"fingerprint": path.name, "attempt": uuid.uuid4().hex, "created": STARTED + delay}
        self.write("run.json", self.run)
        self.write("environment.json", ENVIRONMENT)
        self.write("data.json", DATA)
        (path / "settings.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
        self.state("running")

    @classmethod
    def at(cls, path: Path) -> "RunFolder":
        """A folder that is there already."""
        folder = cls.__new__(cls)
        folder.path, folder.delay = path, 0.0
        folder.run = json.loads((path / "run.json").read_text())
        return folder

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

    def note(self, experiment: str, noted: float = 1.0, **identity: Any) -> tracking.Delivery:
        """A delivery, noted in the folder as the runner does it."""
        info = tracking.ExperimentInfo(experiment, f"About {experiment}.", "{}", noted)
        names: dict[str, Any] = {
            "arm": "lr 1e-3",
            "seed": 42,
            "factor": "optimizer.lr",
            "fingerprint": self.path.name,
            "plan": "plan1",
        }
        delivery = tracking.Delivery(self.path, info, **(names | identity))
        self._append("experiments.jsonl", {"name": experiment, **tracking.note_of(delivery)})
        return delivery

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
