"""The best checkpoint as an MLflow model that runs no code on loading."""

import re
import shutil
import warnings
from pathlib import Path

import mlflow.pytorch
import numpy as np
import torch
from mlflow import MlflowClient, pyfunc
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import nn

from segcore.tracking.runs import experiment_ids


def save_model(model: nn.Module, folder: Path, *, image_size: int) -> None:
    """Writes an MLflow model folder in PyTorch's pt2 format (torch.export), replacing what is there.

    model: on the CPU, in evaluation mode; images (N, 3, image_size, image_size) in [0, 1] to logits (N, 1, ...) for
    any N.  The folder holds a graph and weights, no pickled code; it needs torch, but not segcore.
    """
    assert not model.training
    assert all(weights.device.type == "cpu" for weights in model.parameters())
    shutil.rmtree(folder, ignore_errors=True)
    description = Model()
    with warnings.catch_warnings():
        # MLflow warns about its own type hints when it is first used.
        warnings.simplefilter("ignore")
        mlflow.pytorch.save_model(
            model,
            str(folder),
            mlflow_model=description,
            signature=_signature(image_size),
            # Two images, because an example of one would fix the batch to one.
            input_example=torch.zeros(2, 3, image_size, image_size),
            serialization_format="pt2",
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
        )
        _make_servable(description, folder)


def _signature(image_size: int) -> ModelSignature:
    float32 = np.dtype("float32")
    return ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, 3, image_size, image_size))]),
        outputs=Schema([TensorSpec(float32, (-1, 1, image_size, image_size))]),
    )


def _make_servable(description: Model, folder: Path) -> None:
    """Adds MLflow's general flavour (`mlflow models serve`), which `save_model` leaves out for tensors."""
    pyfunc.add_to_model(
        description,
        loader_module="mlflow.pytorch",
        data="data",
        conda_env="conda.yaml",
        python_env="python_env.yaml",
        # An exported graph stays on the device that it was traced on.
        model_config={"device": "cpu"},
    )
    description.save(str(folder / "MLmodel"))


def deliver_model(client: MlflowClient, run: Run, attempt: str, folder: Path) -> str | None:
    """Logs the model of a training, or links the one that is logged already; returns its id.

    Returns None where there is no model: the run failed before its first checkpoint.  Removes the folder, which after
    that lives in MLflow.
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
    shutil.rmtree(folder, ignore_errors=True)
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
