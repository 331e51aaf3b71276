"""Reading a run back from MLflow: all that it takes to train it again, and to compare."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient, artifacts
from mlflow.entities import Run

from segcore.config import RunConfig, flatten
from segcore.errors import UserError
from segcore.tracking.address import shown_uri, tracking_uri
from segcore.tracking.runs import BEST_WEIGHTS, only_run_id, require_database
from segcore.tracking.store import impatient, tracking_client, unusable

RUN_ID = re.compile(r"[0-9a-f]{32}")
SETTINGS, PACKAGES, DIFF = "config.yaml", "requirements.txt", "git.diff"
# Metrics of the machine, which no training repeats.
MACHINE = "system/"


@dataclass(frozen=True)
class RecordedRun:
    """What MLflow holds of a training.

    experiment, name: where it stands and how it is called there.  settings: all, under dotted keys; empty where it
    holds none.  tags: as they stand there, texts.  data: fingerprint, sizes (train, validation, test), number and
    names of skipped files; empty where the run did not come that far.  packages: `requirements.txt`, diff: `git.diff`;
    None where there is none.  epochs: metrics of each epoch.  results: metrics at the end.  weights: the file of the
    best epoch's, in the folder that was given to `read_recorded`.
    """

    run_id: str
    experiment: str
    name: str
    settings: dict[str, Any]
    tags: dict[str, str]
    data: dict[str, Any]
    packages: str | None
    diff: str | None
    epochs: dict[int, dict[str, float]]
    results: dict[str, float]
    weights: Path | None

    @property
    def state(self) -> str:
        """What became of it: a state of a run's folder."""
        return self.tags.get("state", "unknown")

    @property
    def reason(self) -> str | None:
        """Why it did not finish."""
        return self.tags.get("reason") or None


def read_recorded(run: str, folder: Path) -> RecordedRun:
    """A tracked run, with its weights downloaded into the folder.

    run: as `open_run` takes it; a copy leads to the run that it was copied from.
    Raises UserError where no run or several match, where it is no training of the suite, and where MLflow cannot be
    asked.
    """
    require_database(f"--reproduce {run}")
    try:
        client = tracking_client()
        with impatient():
            found = client.get_run(only_run_id(client, run))
        return _read(client, found, folder)
    except UserError:
        raise
    # Databases and artifact stores raise errors of their own beside MLflow's.
    except Exception as error:
        raise unusable(error) from error


def _read(client: MlflowClient, run: Run, folder: Path) -> RecordedRun:
    run_id = str(run.info.run_id)
    if "fingerprint" not in run.data.tags or not RUN_ID.fullmatch(run_id):
        raise UserError(f"run {run.info.run_name} ({run_id}) in {shown_uri()} is no training of this suite")
    there = {file.path for file in client.list_artifacts(run_id)}

    def fetch(name: str) -> Path | None:
        if name not in there:
            return None
        uri = f"{run.info.artifact_uri}/{name}"
        return Path(
            artifacts.download_artifacts(artifact_uri=uri, tracking_uri=tracking_uri(), dst_path=str(folder))
        )  # fmt: skip

    settings, packages, diff = (_text(fetch(name)) for name in (SETTINGS, PACKAGES, DIFF))
    epochs, results = _histories(client, run)
    return RecordedRun(
        run_id=run_id,
        experiment=client.get_experiment(run.info.experiment_id).name,
        name=str(run.info.run_name),
        settings=flatten(yaml.safe_load(settings)) if settings else settings_of(run.data.params),
        tags=dict(run.data.tags),
        data=_data(run),
        packages=packages,
        diff=diff,
        epochs=epochs,
        results=results,
        weights=fetch(BEST_WEIGHTS),
    )


def _text(file: Path | None) -> str | None:
    return None if file is None else file.read_text(encoding="utf-8", errors="replace")


def settings_of(params: Mapping[str, str]) -> dict[str, Any]:
    """Settings from params, which are texts: those whose type is text stay so, all others were written as JSON."""
    settings: dict[str, Any] = {}
    for key, text in params.items():
        try:
            settings[key] = text if _is_text(key) else json.loads(text)
        except ValueError:
            settings[key] = text  # one choice of a setting that can be a number, too, such as `auto`
    return settings


def _is_text(key: str) -> bool:
    group, _, name = key.partition(".")
    fields = getattr(RunConfig.model_fields.get(group), "annotation", None)
    return name in getattr(fields, "model_fields", {}) and fields.model_fields[name].annotation is str  # type: ignore[union-attr]


def _data(run: Run) -> dict[str, Any]:
    """The dataset input's profile in the words of a run's folder."""
    inputs: Sequence[Any] = run.inputs.dataset_inputs if run.inputs else []
    if not inputs or not inputs[0].dataset.profile:
        return {}
    profile = json.loads(inputs[0].dataset.profile)
    return {
        "name": inputs[0].dataset.name,
        "fingerprint": profile["fingerprint"],
        "sizes": {part: profile[part] for part in ("train", "validation", "test")},
        "skipped": profile["skipped"],
        "skipped_files": profile.get("skipped_files", []),
    }


def _histories(client: MlflowClient, run: Run) -> tuple[dict[int, dict[str, float]], dict[str, float]]:
    """The metrics of each epoch, from 1, and those at the end, which stand at step 0."""
    epochs: dict[int, dict[str, float]] = {}
    results: dict[str, float] = {}
    for key in sorted(key for key in run.data.metrics if not key.startswith(MACHINE)):
        for metric in client.get_metric_history(run.info.run_id, key):
            of_step = epochs.setdefault(metric.step, {}) if metric.step else results
            of_step.setdefault(key, metric.value)
    return dict(sorted(epochs.items())), results
