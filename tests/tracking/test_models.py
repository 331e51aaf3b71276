import contextlib
import io
import logging
import shutil
import zipfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from segcore import tracking
from segcore.models import MODELS
from segcore.tracking.exporting import save_model


@pytest.fixture
def convolution() -> torch.nn.Module:
    """The model that `model_folder` holds."""
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 1, kernel_size=3, padding=1).eval()


@pytest.mark.parametrize("num_images", [1, 2, 5])
def test_saved_model_equals_the_original_without_running_code(
    num_images: int, model_folder: Path, convolution: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    loaded = mlflow.pytorch.load_model(str(model_folder))
    images_N3HW = torch.rand(num_images, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(loaded(images_N3HW), convolution(images_N3HW), rtol=0, atol=0)


class Trap:
    """Unpickling it would write a file."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return self.evidence.write_text, ("code ran",)


def test_a_model_that_was_changed_runs_no_code_where_pickles_are_refused(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/guide.md says to load what others could have written to."""
    shutil.copytree(model_folder, tmp_path / "model")
    path, evidence = tmp_path / "model" / "data" / "model.pt2", tmp_path / "evidence"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (inputs,) = (name for name in members if "sample_inputs" in name and name.endswith(".pt"))
    buffer = io.BytesIO()
    torch.save(((Trap(evidence),), {}), buffer)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {inputs: buffer.getvalue()}).items():
            archive.writestr(name, content)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with pytest.raises(MlflowException, match="pickle is disallowed"):
        mlflow.pytorch.load_model(str(tmp_path / "model"))
    assert not evidence.exists()
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    with contextlib.suppress(Exception):
        mlflow.pytorch.load_model(str(tmp_path / "model"))
    assert evidence.exists(), "the trap is none, so the lines above show nothing"


def test_saved_model_can_be_served(model_folder: Path, convolution: torch.nn.Module) -> None:
    images_N3HW = np.random.default_rng(1).random((3, 3, 8, 8), dtype=np.float32)
    logits_N1HW = mlflow.pyfunc.load_model(str(model_folder)).predict(images_N3HW)
    np.testing.assert_array_equal(logits_N1HW, convolution(torch.from_numpy(images_N3HW)).detach().numpy())


def test_saved_model_says_signature_and_requirements(model_folder: Path) -> None:
    signature = Model.load(str(model_folder)).signature
    [images], [logits] = signature.inputs.inputs, signature.outputs.inputs
    assert (images.type, images.shape) == (np.dtype("float32"), (-1, 3, 8, 8))
    assert (logits.type, logits.shape) == (np.dtype("float32"), (-1, 1, 8, 8))
    requirements = (model_folder / "requirements.txt").read_text()
    assert f"torch=={torch.__version__.split('+')[0]}" in requirements


def test_saving_is_quiet_and_replaces(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = MODELS["resnet34_unet"](in_channels=3, out_channels=1).eval()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("")
    save_model(model, tmp_path / "model", image_size=32)
    assert not (tmp_path / "model" / "old").exists()
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("mlflow").level == logging.CRITICAL


def test_delivered_model_is_loaded_by_its_id(
    make_folder: Any, model_folder: Path, convolution: torch.nn.Module, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder("f1")
    model_folder.rename(folder.path / "model")
    try:
        folder.finish()
        tracking.deliver(folder.delivery(experiment), tracking.tracking_client())
        run: Any
        [run] = tracking.tracking_client().search_runs([experiment])
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.tracking_uri())
        loaded = mlflow.pytorch.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
    finally:
        save_model(convolution, model_folder, image_size=8)
    images_N3HW = torch.ones(2, 3, 8, 8)
    torch.testing.assert_close(loaded(images_N3HW), convolution(images_N3HW), rtol=0, atol=0)
