"""Reading a run's folder, `runs/FINGERPRINT/`, while its worker still writes."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from segcore.errors import UserError
from segcore.tracking.log_tail import read_tail

FILES = (
    "state.json",
    "run.json",
    "settings.yaml",
    "environment.json",
    "data.json",
    "epochs.jsonl",
    "system.jsonl",
    "results.json",
)
ATTEMPT = re.compile(r"^[\w-]+$")
# A state of a run, and the status that its MLflow run ends with; `running` is the one state that is not final.
FINAL_STATUS = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "diverged": "FAILED",
    "interrupted": "KILLED",
    "lost": "KILLED",  # its process vanished without a word: killed, or its machine died
    "missing": "KILLED",
}
# What reading a damaged file may end in.
DAMAGE = (ValueError, KeyError, TypeError, OverflowError, RecursionError, yaml.YAMLError)
# Unix seconds, in the year 2286: later ones are damage.
LATEST = 1e10
# So many beginnings are tried of a line in which torn pieces stand.
MAX_PIECES = 1000
# Of these the end of the log is shown: it may say more than the reason.
WITH_LOG_TAIL = ("failed", "diverged", "lost")


@dataclass(frozen=True)
class Record:
    """Metrics of one moment.  step: epoch, or number of the sample; time: Unix seconds."""

    step: int
    time: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class RunFiles:
    """What a run's folder said at one moment; empty or None where the worker has not come that far.

    attempt: id of this training of the fingerprint.  request: what the call asked for: preset, overrides, hypotheses.
    resumed: how often it was continued.  state: of FINAL_STATUS, or `running`.  started, ended: Unix seconds; they are
    equal where the run has not ended.  log_bytes: size of log.txt; log_tail: its last lines, of WITH_LOG_TAIL.
    """

    attempt: str
    resumed: int
    request: dict[str, str]
    state: str
    reason: str | None
    started: float
    ended: float
    settings: dict[str, Any]
    environment: dict[str, Any]
    data: dict[str, Any]
    epochs: tuple[Record, ...]
    system: tuple[Record, ...]
    results: Record | None
    log_bytes: int
    log_tail: str


def read_run(folder: Path) -> RunFiles | None:
    """The files of a run, or None where there are none yet, or no longer.

    The runner may move an attempt away and begin the next in the same folder while this reads: then it is None too.
    Raises UserError where the files are damaged.
    """
    try:
        return _read_run(folder)
    except DAMAGE as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise UserError(
            f"{folder}: its files are damaged ({said}); the command of its ablation with --rerun --only ARM "
            "--seeds SEED trains it anew"
        ) from None


def _read_run(folder: Path) -> RunFiles | None:
    run = _read_json(folder / "run.json")
    # The state before the rest: the worker writes it last, so with a final state all other files are complete.
    state = _read_json(folder / "state.json")
    if run is None or state is None:
        return None
    if state["state"] not in (*FINAL_STATUS, "running"):
        raise ValueError("state.json has a state that is none")
    results = _read_json(folder / "results.json")
    attempt = str(run["attempt"])
    if not ATTEMPT.match(attempt):  # it is searched for, and may hold nothing that a search would read as more
        raise ValueError("the attempt's name is none")
    files = RunFiles(
        attempt=attempt,
        resumed=int(run.get("resumed") or 0),
        request=dict(run.get("request") or {}),
        state=str(state["state"]),
        reason=state.get("reason"),
        started=_seconds(state.get("started") or run["created"]),
        ended=_seconds(state.get("ended") or state.get("started") or run["created"]),
        settings=yaml.safe_load(_read_text(folder / "settings.yaml") or "") or {},
        environment=_read_json(folder / "environment.json") or {},
        data=_read_json(folder / "data.json") or {},
        epochs=_read_records(folder / "epochs.jsonl", "epoch"),
        system=_read_records(folder / "system.jsonl", "step"),
        results=Record(0, _seconds(results["time"]), dict(results["metrics"])) if results else None,
        log_bytes=(_stamp(folder / "log.txt") or (0, 0))[1],
        log_tail=read_tail(folder / "log.txt") if state["state"] in WITH_LOG_TAIL else "",
    )
    return files if is_attempt(folder, files.attempt) and is_begun(folder) else None


def is_begun(folder: Path) -> bool:
    """Whether there is an attempt that a worker has begun; before that there is nothing to deliver."""
    return (folder / "run.json").exists() and (folder / "state.json").exists()


def may_go_on(folder: Path) -> bool:
    """Whether a run that has ended is one that a later process can continue."""
    return (_read_json(folder / "state.json") or {}).get("state") not in ("finished", "diverged", "missing")


def is_attempt(folder: Path, attempt: str) -> bool:
    """Whether the folder still holds this attempt, rather than that it was moved away, and the next one begun."""
    return (_read_json(folder / "run.json") or {}).get("attempt") == attempt


def _read_json(file: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is no file.  Raises ValueError where it holds none."""
    text = _read_text(file)
    if text is None:
        return None
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} holds no object")
    return content


def _read_text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _seconds(value: Any) -> float:
    """Unix seconds.  Raises ValueError for a moment that is none."""
    seconds = float(value)
    if not 0 <= seconds < LATEST:
        raise ValueError(f"{seconds} is no time")
    return seconds


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that grows.

    A line may be torn: the last one, because it is being written, or one in between, because its process was killed or
    its disk was full.  Whoever went on may have written right behind the torn piece: what begins there is read.
    """
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        for begin in (found.start() for found in islice(re.finditer(r"\{", line), MAX_PIECES)):
            try:
                entry = json.loads(line[begin:])
            except (ValueError, RecursionError):
                continue
            yield entry
            break


def _read_records(file: Path, step_key: str) -> tuple[Record, ...]:
    """The records of a file that grows, each step once, ascending.

    Of a step that was computed again after a fault the first record counts, as it does in MLflow.
    """
    records: dict[int, Record] = {}
    for entry in read_lines(file):
        try:
            record = Record(int(entry[step_key]), _seconds(entry["time"]), dict(entry["metrics"]))
        except DAMAGE:
            continue
        records.setdefault(record.step, record)
    return tuple(records[step] for step in sorted(records))


def version(folder: Path) -> tuple[tuple[int, int] | None, ...]:
    """Time and size of each file that is read here: equal as long as nothing new was written."""
    return tuple(_stamp(folder / name) for name in FILES)


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size
