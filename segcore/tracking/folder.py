"""Reading a run's folder, `runs/FINGERPRINT/`, while its worker still writes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

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
# A state of a run, and the status that its MLflow run ends with; `running` is the one state that is not final.
FINAL_STATUS = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "diverged": "FAILED",
    "interrupted": "KILLED",
    "missing": "KILLED",
}


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
    state: of FINAL_STATUS, or `running`.  started, ended: Unix seconds; they are equal where the run has not ended.
    """

    attempt: str
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


def read_run(folder: Path) -> RunFiles | None:
    """The files of a run, or None where there are none yet, or no longer.

    The runner may move an attempt away and begin the next in the same folder while this reads: then it is None too.
    """
    run = _read_json(folder / "run.json")
    # The state before the rest: the worker writes it last, so with a final state all other files are complete.
    state = _read_json(folder / "state.json")
    if not state or not run:
        return None
    results = _read_json(folder / "results.json")
    files = RunFiles(
        attempt=str(run["attempt"]),
        request=dict(run.get("request") or {}),
        state=str(state["state"]),
        reason=state.get("reason"),
        started=float(state.get("started") or run["created"]),
        ended=float(state.get("ended") or state.get("started") or run["created"]),
        settings=yaml.safe_load(_read_text(folder / "settings.yaml")) or {},
        environment=_read_json(folder / "environment.json"),
        data=_read_json(folder / "data.json"),
        epochs=_read_records(folder / "epochs.jsonl", "epoch"),
        system=_read_records(folder / "system.jsonl", "step"),
        results=Record(0, float(results["time"]), dict(results["metrics"])) if results else None,
    )
    is_one_attempt = _read_json(folder / "run.json").get("attempt") == run["attempt"]
    return files if is_one_attempt and (folder / "state.json").exists() else None


def _read_json(file: Path) -> dict[str, Any]:
    text = _read_text(file)
    return dict(json.loads(text)) if text else {}


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _read_records(file: Path, step_key: str) -> tuple[Record, ...]:
    """The lines of a file that grows, each step once.

    A line may be torn: the last one, because it is being written, or one in between, because its worker was killed;
    the worker that went on has computed and written that step again.
    """
    records: dict[int, Record] = {}
    for line in _read_text(file).splitlines():
        try:
            entry = json.loads(line)
            record = Record(int(entry[step_key]), float(entry["time"]), dict(entry["metrics"]))
        except (ValueError, KeyError, TypeError):
            continue
        records.setdefault(record.step, record)
    return tuple(records.values())


def version(folder: Path) -> tuple[tuple[int, int] | None, ...]:
    """Time and size of each file that is read here: equal as long as nothing new was written."""
    return tuple(_stamp(folder / name) for name in FILES)


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size
