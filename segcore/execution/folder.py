"""A run's folder, `runs/FINGERPRINT/`: all that a run needs to be continued and reported.

| file | content |
| --- | --- |
| run.json | fingerprints, the attempt's name, when it was made, how often it was continued, what the call asked for |
| experiments.jsonl | a line for each experiment and arm that the run belongs to, with all that a delivery needs |
| settings.yaml | every resolved setting |
| environment.json, data.json | where it ran; the dataset, its parts and what was skipped |
| state.json | running, finished, failed, diverged, interrupted, lost or missing; the reason; times; process |
| anew.json | that --rerun has asked for the run, until it is begun |
| progress.json | epoch and step of the running training, about once a second |
| checkpoints/ | the two newest states of an unfinished training |
| epochs.jsonl, system.jsonl | a line an epoch; a line every few seconds of machine use |
| training.json | metrics of the whole training, once it is done |
| results.json | the metrics at the end |
| best.safetensors | weights of the best epoch |
| model/ | the same as an MLflow model, until it is delivered |
| artifacts/ | what goes to MLflow as files |
| log.txt | the output of the processes |
| task.json | on a Ray cluster: the node that has begun the run, and how often that was |
| lock, claim | held while somebody works here, see `segcore/execution/claims.py` |
| delivery | held while somebody delivers this to MLflow, see `segcore/tracking/lease.py` |
"""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from segcore.config import RunConfig, flatten
from segcore.credentials import clean_reason
from segcore.errors import PASSING_ERRORS, UserError
from segcore.plan import Run
from segcore.stored_settings import parse_stored

try:  # it reads the same, ten times as fast: a look at a plan reads the settings of all runs
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

RUNS = Path("runs")
REPLACED = "replaced"
# One level deeper than the runs that are counted.
REPRODUCTIONS = "reproductions"
# Written once a second, and worth nothing afterwards.
PASSING = "progress.json"

# How long is waited for what a moment later may be otherwise, in seconds.
PAUSES = (0.05, 0.2, 1.0)

State = Literal["new", "running", "finished", "failed", "diverged", "interrupted", "lost", "missing"]


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes one run's files; every write is aside and then renamed, so no reader sees half a file."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """Weights of the best epoch."""
        return self.path / "best.safetensors"

    @property
    def states(self) -> Path:
        """The newest states of a training that is not done."""
        return self.path / "checkpoints"

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
            content: dict[str, Any] = json.loads(read_patiently(self.path / f"{name}.json", "strict"))
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
            with aside.open("w", encoding="utf-8") as file:
                file.write(text)
                if name != PASSING:  # what has to outlive a power cut
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(aside, self.path / name)
        finally:
            aside.unlink(missing_ok=True)

    def append(self, name: str, content: Mapping[str, Any]) -> None:
        """Add a line to NAME.jsonl; it is on the disk when this returns."""
        with (self.path / f"{name}.jsonl").open("ab+") as file:
            # A line that was torn by a kill must not swallow this one.
            is_torn = file.tell() > 0 and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
            file.write(b"\n" * is_torn + json.dumps(content).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The lines of NAME.jsonl; one that is still being written, or was torn by a kill, is left out."""
        path = self.path / f"{name}.jsonl"
        for line in read_patiently(path).splitlines() if path.is_file() else ():
            with contextlib.suppress(ValueError, RecursionError):
                if isinstance(content := json.loads(line), dict):
                    yield content

    def experiments(self) -> set[str]:
        """The experiments that the run belongs to, by name."""
        return {str(line.get("name", "")) for line in self.lines("experiments")}

    def note_experiment(self, name: str, delivery: Mapping[str, Any] | None = None) -> None:
        """Note that the run belongs to an experiment, and what its delivery needs; unless that was noted last."""
        line = {"name": name, **(delivery or {})}
        noted = [other for other in self.lines("experiments") if is_of_one_place(other, line)]
        if not noted or noted[-1] | {"noted": None} != line | {"noted": None}:
            self.append("experiments", line)

    def config(self) -> RunConfig:
        """The run's settings."""
        return parse_stored(yaml.safe_load((self.path / "settings.yaml").read_text()))

    def settings(self) -> dict[str, Any]:
        """The run's settings under dotted keys, also those of an older version of the suite."""
        return flatten(yaml.load((self.path / "settings.yaml").read_text(), Loader=SafeLoader))  # noqa: TID251 - the safe one

    def set_state(self, state: State, reason: str | None = None, *, try_again: bool = True) -> None:
        """Note what became of the run; keeps the time of its start.

        try_again: false for a failure that would only happen again, as the settings or the data have to be changed.
        """
        now = time.time()
        before = self.read("state")
        content = {
            "state": state,
            "reason": reason and clean_reason(reason),
            "started": before.get("started", now),
            "ended": None if state == "running" else now,
            "pid": os.getpid(),
            "try_again": try_again,
        }
        self.write("state", content)


def read_patiently(path: Path, errors: str = "replace") -> str:
    """A file's text.  Storage that machines share may lose sight of a file that another has just replaced.

    errors: what becomes of bytes that are no text, as `open` takes it.  Raises OSError, ValueError.
    """
    for pause in PAUSES:
        try:
            return path.read_text(encoding="utf-8", errors=errors)
        except OSError as error:
            if error.errno not in PASSING_ERRORS:
                raise
            time.sleep(pause)
    return path.read_text(encoding="utf-8", errors=errors)


def is_of_one_place(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two lines of experiments.jsonl are of one experiment and arm."""
    return (first.get("name"), first.get("arm")) == (second.get("name"), second.get("arm"))


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
