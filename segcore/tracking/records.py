"""A run's files in MLflow's terms: params, tags, metrics, dataset.  Pure functions; nothing here is sent."""

import getpass
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from mlflow.data.schema import TensorDatasetSchema
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric
from mlflow.types import Schema, TensorSpec

from segcore.config import flatten
from segcore.credentials import without_credentials
from segcore.tracking.folder import Record, RunFiles
from segcore.tracking.log_tail import code_block
from segcore.wording import plain_markdown

# So many characters of the data's fingerprint stand in the UI beside its name; the whole is in the profile.
DIGEST = 12
# MLflow's own limits.
MAX_PARAM = 6_000
MAX_TAG = 8_000
# So many skipped files are listed by name; their number is always given.
MAX_SKIPPED_LISTED = 200


def milliseconds(seconds: float) -> int:
    """MLflow's unit of time."""
    return round(seconds * 1000)


def as_text(value: Any) -> str:
    """A value as MLflow stores it: text as it is, everything else as JSON (null, true, 0.001, [0.4, 0.5])."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str, limit: int) -> str:
    text = without_credentials(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def params_of(files: RunFiles) -> dict[str, str]:
    """Every setting under its dotted key."""
    return {key: _cut(as_text(value), MAX_PARAM) for key, value in flatten(files.settings).items()}


def tags_of(files: RunFiles, identity: Mapping[str, str], reused_from: str | None) -> dict[str, str]:
    """Tags of a run.  identity: name, arm, seed, factor, fingerprint, plan;  reused_from: id of the copied run."""
    environment = {key: as_text(value) for key, value in flatten(files.environment).items() if value is not None}
    tags = {key: value for key, value in identity.items() if key != "name"}
    tags |= {"state": files.state, "reason": files.reason or "", "reused_from": reused_from or ""}
    tags |= {"attempt": files.attempt, "resumed": str(files.resumed or ""), "log_tail": files.log_tail}
    tags |= files.request | environment
    tags |= {
        "mlflow.runName": identity["name"],
        "mlflow.note.content": _description(files, identity, reused_from),
        "mlflow.user": user_name(),
        "mlflow.source.name": "runner.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": environment.get("git_commit", ""),
    }
    return {key: _cut(value, MAX_TAG) for key, value in tags.items() if value}


def user_name() -> str:
    """Who is logged in here."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"  # a container without an entry for its user


def _description(files: RunFiles, identity: Mapping[str, str], reused_from: str | None) -> str:
    """What the UI shows as the run's description: a sentence, and the end of the log where it may say more."""
    sentence = _sentence(files, identity, reused_from)
    if not files.log_tail:
        return sentence
    return f"{_cut(sentence, MAX_TAG // 4)}\n\nThe end of its log:\n\n{code_block(files.log_tail)}\n"


def _sentence(files: RunFiles, identity: Mapping[str, str], reused_from: str | None) -> str:
    """What became of the run."""
    epochs = f"{len(files.epochs)} epoch{'s' * (len(files.epochs) != 1)}"
    because = f": {plain_markdown(files.reason)}" if files.reason else "."
    says = {
        "running": "is being trained.",
        "finished": f"finished after {epochs}{_outcome(files.results)}.",
        "failed": f"failed after {epochs}{because}",
        "diverged": f"diverged after {epochs}{because}",
        "interrupted": f"was interrupted after {epochs}{because}",
        "lost": f"was lost after {epochs}{because}",
        "missing": f"did not run{because}",
    }
    copy = f" Copied from run `{reused_from}`, which has the same settings and data." if reused_from else ""
    return f"{plain_markdown(identity['name'])} {says[files.state]}{copy}"


def _outcome(results: Record | None) -> str:
    metrics = results.metrics if results else {}
    if "test/dice_per_image" not in metrics:
        return ""
    at = f" at threshold {metrics['threshold']:.2f}" if "threshold" in metrics else ""
    return f", with a Dice of {metrics['test/dice_per_image']:.4f} per test image{at}"


def metrics_of(records: Iterable[Record]) -> Iterator[list[Metric]]:
    """The metrics of each record, with their own time stamps."""
    for record in records:
        time = milliseconds(record.time)
        yield [Metric(key, float(value), time, record.step) for key, value in record.metrics.items()]


def results_of(files: RunFiles, model_id: str | None) -> list[Metric]:
    """The metrics at the end, said of the dataset, and of the model too where one is given."""
    if files.results is None:
        return []
    time, dataset = milliseconds(files.results.time), _dataset(files) if files.data else None
    return [
        Metric(
            key,
            float(value),
            time,
            step=0,
            model_id=model_id,
            dataset_name=dataset.name if dataset else None,
            dataset_digest=dataset.digest if dataset else None,
        )
        for key, value in files.results.metrics.items()
    ]


def dataset_of(files: RunFiles) -> DatasetInput:
    """The dataset input: name, short fingerprint, root, sizes of the three parts, skipped files."""
    return DatasetInput(_dataset(files), [InputTag("mlflow.data.context", "train, validation, test")])


def _dataset(files: RunFiles) -> Dataset:
    data, skipped = files.data, files.data["skipped"]
    profile = {
        "fingerprint": data["fingerprint"],
        **data["sizes"],
        "skipped": len(skipped),
        "skipped_files": [f"{item['name']}: {item['reason']}" for item in skipped[:MAX_SKIPPED_LISTED]],
    }
    if len(skipped) > MAX_SKIPPED_LISTED:
        profile["skipped_files_not_listed"] = len(skipped) - MAX_SKIPPED_LISTED
    return Dataset(
        name=data["name"],
        digest=data["fingerprint"][:DIGEST],
        source_type="local",
        source=json.dumps({"uri": without_credentials(data["root"])}),
        schema=json.dumps(_schema(files.settings["data"]["image_size"]).to_dict()),
        profile=json.dumps(profile),
    )


def _schema(size: int) -> TensorDatasetSchema:
    """What the images and trimaps are resized to."""
    uint8 = np.dtype("uint8")
    return TensorDatasetSchema(
        features=Schema([TensorSpec(uint8, (-1, size, size, 3))]),
        targets=Schema([TensorSpec(uint8, (-1, size, size))]),
    )
