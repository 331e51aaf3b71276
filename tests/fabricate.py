"""Finished ablations without training: run folders with made-up numbers, delivered to MLflow as the runner does it.

Everything is a function of its arguments, run ids aside.  No random numbers: curves, tables and pictures come from
formulas, so a test can tell what it will find.
"""

import contextlib
import functools
import json
import math
import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient

from segcore import tracking
from segcore.ablation import Ablation, load_ablation
from segcore.config import Layer, RunConfig, nest
from segcore.plan import Facts, Run, digest, expand
from tests.fabricated_numbers import (
    SHEETS,
    Look,
    make_epochs,
    overlap_metrics,
    per_image,
    picture,
    threshold_curve,
    training_metrics,
)

STARTED = 1_700_000_000.0
SECONDS_BETWEEN_RUNS = 100.0
ENVIRONMENT = {
    "git_commit": "0123456789abcdef0123456789abcdef01234567",
    "git_dirty": False,
    "device": "cpu",
    "threads": 2,
    "host": "laboratory",
    "platform": "Linux-6.1-x86_64",
    "processor": "AMD EPYC",
    "python": "3.11.9",
    "torch": "2.15.0",
    "torchvision": "0.29.2",
    "numpy": "2.4.6",
    "pillow": "13.0.0",
    "mlflow": "3.17.2",
}
DATA = "da7a" * 16
Quality = Callable[[str, int], float]


def fabricate_ablation(
    project: Path,
    source: Path,
    *,
    preset: str | None = None,
    seeds: Sequence[int] | None = None,
    declared: Sequence[int] | None = None,
    epochs: int = 12,
    num_images: int = 40,
    breeds: bool = True,
    quality: Quality | None = None,
    states: Mapping[tuple[str, int], tuple[str, str]] | None = None,
    overrides: Sequence[str] = (),
    reuse: bool = False,
    started: float = STARTED,
    data_fingerprint: str = DATA,
    **environment: Any,
) -> str:
    """Writes the runs of an ablation file into `project/runs/` and delivers them; returns the experiment's name.

    MLflow is MLFLOW_TRACKING_URI or `project/mlflow.db`.
    seeds: of the runs.  declared: the seeds that the definition in MLflow names, by default those of the runs.
    quality: test Dice of an arm and seed, to be met exactly.  states: of the runs that did not finish; "not run"
    leaves a run out.  overrides: as typed on the command line.  reuse: a finished run of the same fingerprint in the
    project becomes a copy, as in real life; otherwise it is a new attempt.  started: Unix seconds, of the first run.
    environment: what differs from ENVIRONMENT.
    """
    ablation = load_ablation(source, preset=preset, overrides=overrides, seeds=seeds)
    ablation = replace(ablation, layers=(*ablation.layers, Layer("fabricated", {"trainer.epochs": epochs})))
    plan = expand(ablation, functools.partial(facts, data_fingerprint))
    experiment = describe(ablation, declared or ablation.seeds)
    claims = digest([hypothesis.model_dump() for hypothesis in ablation.definition.hypotheses])
    request = {"preset": ablation.preset or "", "overrides": shlex.join(overrides), "hypotheses": claims}
    with contextlib.chdir(project):
        client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project.absolute()}/mlflow.db")
        for position, run in enumerate(plan.runs):
            state, reason = (states or {}).get((run.arm, run.seed), ("finished", ""))
            if state == "not run":
                continue
            dice = (quality or usual_quality(list(ablation.arms)))(run.arm, run.seed)
            folder = Folder(project / "runs" / run.fingerprint, started + SECONDS_BETWEEN_RUNS * position)
            if not (reuse and folder.is_finished):
                look = Look(dice, state, reason, num_images, breeds)
                folder.write_run(run, look, request, ENVIRONMENT | environment)
            factor = ", ".join(ablation.definition.factors)
            delivery = tracking.Delivery(
                folder.path, experiment, run.arm, run.seed, factor, run.fingerprint, plan.plan
            )  # fmt: skip
            tracking.deliver(delivery, client)
    return ablation.experiment


def facts(data_fingerprint: str, config: RunConfig) -> Facts:
    """What a machine without a GPU would find."""
    precision = config.trainer.precision
    return Facts(data_fingerprint, "float32" if precision == "auto" else precision)


def describe(ablation: Ablation, declared: Sequence[int]) -> tracking.ExperimentInfo:
    """The experiment, with its definition as the runner leaves it there."""
    definition = ablation.definition.model_copy(update={"seeds": list(declared)})
    text = f"{definition.title}: {definition.question}"
    return tracking.ExperimentInfo(ablation.experiment, text, definition.model_dump_json())


def usual_quality(arms: Sequence[str]) -> Quality:
    """0.90 for the first arm, 0.02 less for each after it; seeds vary by up to +-0.004, each arm in its own way."""

    def quality(arm: str, seed: int) -> float:
        position = arms.index(arm)
        return round(0.90 - 0.02 * position + 0.004 * math.sin(2.0 * seed + position), 4)

    return quality


class Folder:
    """One `runs/FINGERPRINT/`, written as a worker would have."""

    def __init__(self, path: Path, started: float) -> None:
        self.path, self.started = path, started

    @property
    def is_finished(self) -> bool:
        state = self.path / "state.json"
        return state.exists() and json.loads(state.read_text())["state"] == "finished"

    def write_run(self, run: Run, look: Look, request: Mapping[str, str], environment: Mapping[str, Any]) -> None:
        """All files of a run in the state that it is to have, in place of an earlier attempt."""
        if self.path.exists():
            attempt = json.loads((self.path / "run.json").read_text())["attempt"]
            target = self.path.parent / "replaced" / f"{self.path.name}-{attempt}"
            target.parent.mkdir(exist_ok=True)
            self.path.rename(target)
        (self.path / "artifacts" / "sheets").mkdir(parents=True)
        self.write("run.json", self.identity(run, request))
        settings = nest(run.config.flat() | {"trainer.precision": facts("", run.config).precision})
        self.write_text("settings.yaml", yaml.safe_dump(settings, sort_keys=False))
        if look.state != "missing":  # such a run never had a worker
            self.write("environment.json", environment)
            self.write("data.json", describe_data(run, look))
            self.write_text("artifacts/config.yaml", yaml.safe_dump(settings, sort_keys=False))
            epochs = make_epochs(run, look)
            lines = [{"epoch": n, "time": self.started + 10 * n, "metrics": m} for n, m in enumerate(epochs, start=1)]
            self.write_text("epochs.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
            self.write_text("log.txt", "fabricated\n")
        if look.state == "finished":
            self.write_results(run, look, epochs)
        ended = None if look.state == "running" else self.started + SECONDS_BETWEEN_RUNS - 10
        state = {"state": look.state, "reason": look.reason or None, "started": self.started, "ended": ended, "pid": 1}
        self.write("state.json", state)

    def identity(self, run: Run, request: Mapping[str, str]) -> dict[str, Any]:
        """The content of run.json; every attempt has a name of its own."""
        return {
            "fingerprint": run.fingerprint,
            "training_fingerprint": run.training_fingerprint,
            "attempt": digest([run.fingerprint, self.started, time.time_ns()])[:12],
            "created": self.started,
            "trained_since": 0.0,
            "request": request,
        }

    def write_results(self, run: Run, look: Look, epochs: Sequence[Mapping[str, float]]) -> None:
        """What a finished run has beside its epochs: final metrics, tables, pictures."""
        training = training_metrics(run, epochs)
        curve = threshold_curve(epochs[-1]["val/dice_per_image"])
        threshold = run.config.evaluation.threshold
        threshold = 0.45 if threshold == "validation" else float(threshold)
        self.write("training.json", training)
        metrics = overlap_metrics(look.quality) | training | {"threshold": threshold}
        self.write("results.json", {"time": self.started + 80, "metrics": metrics})
        curve.to_parquet(self.path / "artifacts" / "threshold_curve.parquet", index=False)
        table = per_image(look, run.config.data.image_size)
        table.to_parquet(self.path / "artifacts" / "test_per_image.parquet", index=False)
        for number, name in enumerate(SHEETS):
            (self.path / "artifacts" / "sheets" / f"{name}.png").write_bytes(picture(number))
        (self.path / "artifacts" / "curves.png").write_bytes(picture(len(SHEETS)))

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        self.write_text(name, json.dumps(content))

    def write_text(self, name: str, text: str) -> None:
        (self.path / name).write_text(text, encoding="utf-8")


def describe_data(run: Run, look: Look) -> dict[str, Any]:
    """The dataset; its fingerprint is the run's."""
    sizes = {"train": 4 * look.num_images, "validation": look.num_images, "test": look.num_images}
    skipped = [{"name": "Egyptian_Mau_139", "reason": "truncated"}]
    data = run.config.data
    return {
        "name": data.format, "root": data.root, "fingerprint": run.data_fingerprint, "sizes": sizes, "skipped": skipped
    }  # fmt: skip
