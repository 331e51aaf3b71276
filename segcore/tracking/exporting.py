"""The best checkpoint as an MLflow model that runs no code on loading.

Apart from the rest of `tracking`, because only workers export, and its imports take as long as all the others.
"""

import shutil
import tempfile
import warnings
from pathlib import Path

import mlflow.pytorch
import numpy as np
import torch
from mlflow import pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import nn


def save_model(model: nn.Module, folder: Path, *, image_size: int) -> None:
    """Writes an MLflow model folder in PyTorch's pt2 format (torch.export), replacing what is there.

    model: on the CPU, in evaluation mode; images (N, 3, image_size, image_size) in [0, 1] to logits (N, 1, ...) for
    any N.  The folder holds a graph and weights, no pickled code; it needs torch, but not segcore.
    To load a model that others could have changed, set MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false: MLflow then takes
    this format alone, and looks into it before PyTorch's loader, which would unpickle whatever it finds.
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


def rehearse() -> None:
    """Saves a model of one operation, which has the exporter imported and the installed packages looked through.

    Both take seconds, once a process, or once for all that are forked from it after this.
    """
    with tempfile.TemporaryDirectory() as place:
        save_model(nn.Sigmoid().eval(), Path(place) / "model", image_size=2)
