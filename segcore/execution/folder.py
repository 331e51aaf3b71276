"""A run's folder, `runs/FINGERPRINT/`: all that a run needs to be reported and, later, to be continued.

| file | content |
| --- | --- |
| run.json | fingerprints, the attempt's name, when it was made, what it was asked for with |
| experiments.jsonl | a line for each experiment that the run was delivered to, or is to be |
| settings.yaml | every resolved setting |
| environment.json, data.json | where it ran; the dataset, its parts and what was skipped |
| state.json | running, finished, failed, diverged, interrupted or missing; the reason; times; process |
| progress.json | epoch and step of the running training, about once a second |
| epochs.jsonl, system.jsonl | a line an epoch; a line every few seconds of machine use |
| results.json | the metrics at the end |
| best.safetensors | weights of the best epoch |
| model/ | the same as an MLflow model, until it is delivered |
| artifacts/ | what goes to MLflow as files |
| log.txt, lock | the process's output; held while a process works here |
"""

import contextlib
import fcntl
import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from segcore.config import RunConfig, flatten, nest
from segcore.errors import UserError
from segcore.plan import Run
from segcore.stored_settings import parse_stored

RUNS = Path("runs")
REPLACED = "replaced"
LOCK = "lock"

State = Literal["new", "running", "finished", "failed", "diverged", "interrupted", "missing"]


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes one run's files; every write is aside and then renamed, so no reader sees half a file."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """Weights of the best epoch."""
        return self.path / "best.safetensors"

    @property
    def artifacts(self) -> Path:
        """Files for MLflow."""
        return self.path / "artifacts"

    @property
    def model(self) -> Path:
        """The MLflow model."""
        return self.path / "model"

    @property
    def log(self) -> Path:
        """The worker's output."""
        return self.path / "log.txt"

    @property
    def state(self) -> State:
        """What became of the run so far; `new` where there is none."""
        state: State = self.read("state").get("state", "new")
        return state if state in get_args(State) else "new"  # a damaged file says nothing

    @property
    def reason(self) -> str | None:
        """Why it did not finish."""
        reason: str | None = self.read("state").get("reason")
        return reason

    def read(self, name: str) -> dict[str, Any]:
        """The content of NAME.json; empty where there is none."""
        try:
            content: dict[str, Any] = json.loads((self.path / f"{name}.json").read_text())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace NAME.json."""
        self.write_text(f"{name}.json", json.dumps(content, indent=1))

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file."""
        aside = self.path / f".{name}.{os.getpid()}.part"
        try:
            aside.write_text(text, encoding="utf-8")
            os.replace(aside, self.path / name)
        finally:
            aside.unlink(missing_ok=True)

    def append(self, name: str, content: Mapping[str, Any]) -> None:
        """Add a line to NAME.jsonl."""
        with (self.path / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(content) + "\n")

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The lines of NAME.jsonl; one that is still being written, or was torn by a kill, is left out."""
        path = self.path / f"{name}.jsonl"
        for line in path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else ():
            with contextlib.suppress(ValueError, RecursionError):
                if isinstance(content := json.loads(line), dict):
                    yield content

    def experiments(self) -> set[str]:
        """The experiments that the run belongs to, by name."""
        return {str(line.get("name", "")) for line in self.lines("experiments")}

    def note_experiment(self, name: str) -> None:
        """Note that the run belongs to an experiment."""
        if name not in self.experiments():
            self.append("experiments", {"name": name})

    def config(self) -> RunConfig:
        """The run's settings."""
        return parse_stored(yaml.safe_load((self.path / "settings.yaml").read_text()))

    def settings(self) -> dict[str, Any]:
        """The run's settings under dotted keys, also those of an older version of the suite."""
        return flatten(yaml.safe_load((self.path / "settings.yaml").read_text()))

    def set_state(self, state: State, reason: str | None = None) -> None:
        """Note what became of the run; keeps the time of its start."""
        now = time.time()
        started = self.read("state").get("started", now)
        ended = None if state == "running" else now
        self.write("state", {"state": state, "reason": reason, "started": started, "ended": ended, "pid": os.getpid()})


def make_runs_folder() -> None:
    """Make `runs/` where it is missing, and see that it can be written.  Raises UserError."""
    try:
        RUNS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=RUNS) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise UserError(f"{RUNS.absolute()}: cannot be written ({error.strerror}); the runs are kept there") from None


def folder_of(run: Run) -> RunFolder:
    """The folder that belongs to a run, whether it exists or not."""
    return RunFolder(RUNS / run.fingerprint)


def claim(folder: RunFolder) -> int | None:
    """A descriptor that holds the run's lock for this process and those that inherit it; None if another has it.

    The system frees the lock when the last of them is gone, however it went.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def start_attempt(
    run: Run, precision: str, trained_since: float = 0.0, request: Mapping[str, str] | None = None
) -> RunFolder:
    """A fresh folder for a run, which the caller has claimed; what was in it has been set aside.

    precision: the resolved one, which the settings then hold instead of `auto`.
    trained_since: Unix time; of runs of the same training, those begun later may be taken over instead of training.
    request: what of the call is kept with the run: preset, overrides, hypotheses.
    """
    folder = folder_of(run)
    folder.artifacts.mkdir(parents=True, exist_ok=True)
    folder.write(
        "run",
        {
            "fingerprint": run.fingerprint,
            "training_fingerprint": run.training_fingerprint,
            "attempt": uuid.uuid4().hex[:12],
            "created": time.time(),
            "trained_since": trained_since,
            "request": dict(request or {}),
        },
    )
    settings = nest(run.config.flat() | {"trainer.precision": precision})
    folder.write_text("settings.yaml", yaml.safe_dump(settings, sort_keys=False))
    return folder


def set_aside(folder: RunFolder) -> RunFolder | None:
    """Move what an earlier attempt left to `runs/replaced/FINGERPRINT-ATTEMPT`, and return that; None if nothing.

    `state.json` goes first, so that nobody reads an end without what came before it, and `run.json` last: if this is
    cut short, the next call moves the rest to the same place.
    """
    if not folder.path.is_dir():
        return None
    left = sorted(folder.path.iterdir(), key=lambda path: (path.name == "run.json", path.name != "state.json"))
    left = [path for path in left if path.name != LOCK]
    if not left:
        return None
    if folder.state == "running":  # and the caller holds the lock
        folder.set_state("interrupted", "its process is gone")
        left = [path for path in left if path.exists()]
    attempt = folder.read("run").get("attempt", f"unknown-{uuid.uuid4().hex[:8]}")
    target = RunFolder(folder.path.parent / REPLACED / f"{folder.path.name}-{attempt}")
    target.path.mkdir(parents=True, exist_ok=True)
    for path in left:
        path.rename(target.path / path.name)
    return target


def find_trained(folder: RunFolder) -> RunFolder | None:
    """A finished run of the same training, which differs at most in its evaluation; None where there is none."""
    wanted = folder.read("run")
    for path in sorted(RUNS.glob("*/run.json")):
        other = RunFolder(path.parent)
        run = other.read("run")
        same = run.get("training_fingerprint") == wanted["training_fingerprint"]
        if same and run["created"] >= wanted["trained_since"] and other.state == "finished":
            return other
    return None
