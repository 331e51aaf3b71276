"""A tracking database for each test, and run folders in it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from segcore import tracking
from segcore.tracking.exporting import save_model
from tests.run_folders import RunFolder


@pytest.fixture
def project(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a database of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def client(project: Path) -> MlflowClient:
    return tracking.tracking_client()


@pytest.fixture
def make_folder(project: Path) -> Callable[..., RunFolder]:
    return lambda name, delay=0.0: RunFolder(project / "runs" / name, delay)


@pytest.fixture
def experiment(client: MlflowClient) -> str:
    return client.create_experiment("lr_sweep")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of one convolution, to be copied into run folders."""
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(torch.nn.Conv2d(3, 1, kernel_size=3, padding=1).eval(), folder, image_size=8)
    return folder
