"""The models of trainings in MLflow: logged once, and linked to the runs that share them."""

import re
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.models import Model

from segcore.tracking.runs import experiment_ids


def deliver_model(client: MlflowClient, run: Run, attempt: str, folder: Path) -> str | None:
    """Logs the model of a training, or links the one that is logged already; returns its id.

    Returns None where there is no model: the run failed before its first checkpoint.
    """
    found = client.search_logged_models(experiment_ids(client), f"tags.attempt = '{attempt}'")
    model = next(iter(found), None)
    if model is None or model.status != LoggedModelStatus.READY:
        if not (folder / "MLmodel").exists():
            return None
        model = _upload(client, model or _create(client, run, attempt), folder)
    linked = {output.model_id for output in run.outputs.model_outputs} if run.outputs else set()
    if model.model_id not in linked:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


def _create(client: MlflowClient, run: Run, attempt: str) -> LoggedModel:
    tags = {key: run.data.tags[key] for key in ("arm", "seed", "fingerprint", "plan") if key in run.data.tags}
    return client.create_logged_model(
        run.info.experiment_id,
        # Characters that MLflow forbids in the names of models.
        name=re.sub(r"[/:.%\"']", "_", run.info.run_name),
        source_run_id=run.info.run_id,
        tags=tags | {"attempt": attempt},
        params=run.data.params,
        model_type="segmentation",
    )


def _upload(client: MlflowClient, model: LoggedModel, folder: Path) -> LoggedModel:
    description = Model.load(str(folder))
    description.model_id = model.model_id
    description.run_id = model.source_run_id
    description.artifact_path = model.artifact_location
    description.save(str(folder / "MLmodel"))
    client.log_model_artifacts(model.model_id, str(folder))
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
