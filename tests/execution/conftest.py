"""Plans of the small ablation, and finished runs of them without training."""

import io
import platform

import pytest
from rich.console import Console

from segcore import build
from segcore.ablation import load_ablation
from segcore.execution import folder as folders
from segcore.execution.attempts import start_attempt
from segcore.execution.pace import Sizes
from segcore.execution.planning import Lookup
from segcore.execution.request import Request
from segcore.execution.session import Session
from segcore.plan import Facts, expand

SIZES = Sizes(train=100, validation=20, test=40)


@pytest.fixture
def make_plan(write_ablation, monkeypatch, tmp_path):
    """A function that makes the small ablation's plan, with changes; its runs lie below the test's own folder."""
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(build, "has_native_bfloat16", lambda: False)

    def make(only=(), epochs=4, seeds=None, **changes):
        settings = {"execution": {"device": "cpu", "threads": 2}, "trainer.epochs": epochs}
        path = write_ablation(**{"settings": settings | changes.pop("settings", {})} | changes)
        return expand(load_ablation(path, seeds=seeds), facts, only)

    return make


def facts(config):
    half = config.trainer.precision == "float16"
    return Facts("content", "float16" if half else "float32", "needs CUDA" if half else None)


@pytest.fixture
def finish():
    """A function that writes the folder of a finished run: 4 epochs, each of which trains for `training` seconds and
    validates for `validation`, and `rest` seconds of everything else."""

    def write(run, training=10.0, validation=2.0, rest=8.0, dice=0.8, epochs=4, **environment):
        folder = start_attempt(run, "float32")
        here = {"device": "cpu", "threads": 2, "host": platform.node()}
        folder.write("environment", here | environment)
        sizes = {"train": SIZES.train, "validation": SIZES.validation, "test": SIZES.test}
        folder.write("data", {"fingerprint": "content", "sizes": sizes})
        for epoch in range(1, epochs + 1):
            metrics = {"images_per_second": SIZES.train / training, "epoch_seconds": training + validation}
            metrics |= {"train/loss": 0.5, "val/dice_per_image": 0.7}
            folder.append("epochs", {"epoch": epoch, "time": 0.0, "metrics": metrics})
        seconds = epochs * (training + validation)
        folder.write("training", {"train_seconds": seconds, "peak_memory_gib": 1.5})
        folder.write("results", {"time": 0.0, "metrics": {"test/dice_per_image": dice, "train_seconds": seconds}})
        folder.write("state", {"state": "finished", "reason": None, "started": 0.0, "ended": seconds + rest})
        return folder

    return write


def facts_of_session(config):
    half = config.trainer.precision == "float16"
    return Facts("data", "float16" if half else "float32", "needs CUDA" if half else None)


@pytest.fixture
def make_session(write_ablation, monkeypatch, tmp_path):
    """A function that makes a session for an ablation; its runs lie below the test's own folder."""
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")

    def make(rerun=False, **changes):
        plan = expand(load_ablation(write_ablation(**changes)), facts_of_session)
        console = Console(file=io.StringIO(), width=200)
        return Session(Request(files=[], rerun=rerun), [plan], Lookup(), console)

    return make
