"""What several tests share: settings to start from, and small ablation files."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import settings

from segcore.ablation import read_preset
from segcore.config import Layer, Problems, RunConfig, resolve
from tests.process_state import find_changes, process_state, torch_settings_kept

ROOT = Path(__file__).parent

# The same examples in every run, so that a failure can be repeated; --hypothesis-profile=random looks further.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("random", deadline=None, max_examples=1000)
settings.load_profile("repeatable")


# Files of few and long tests, which start trainings and servers.
LONG = (
    "faults",
    "server",
    "test_jobs_for_real",
    "test_runner",
    "test_plain_path",
    "test_notebooks",
    "test_calibration",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: with several workers, one that comes last would leave the others idle."""
    items.sort(key=lambda item: not any(part in str(item.path.relative_to(ROOT)) for part in LONG))


@pytest.fixture(autouse=True)
def process_kept() -> Iterator[None]:
    """A test leaves the process as it found it, for whichever test comes next."""
    before = process_state()
    with torch_settings_kept():
        yield
    assert find_changes(before, process_state()) == []


@pytest.fixture
def make_config():
    """A function from dotted settings to a config: the base preset with these laid over it."""

    def make(seed: int = 42, **settings: object) -> RunConfig:
        base, _ = read_preset("base")
        problems = Problems()
        values = {key.replace("__", "."): value for key, value in settings.items()}
        config = resolve([base, Layer("test", values)], seed, problems)
        assert config is not None, problems.messages
        return config

    return make


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables; making them takes seconds, copying them does not."""
    from segcore import tracking  # here, because most tests need no MLflow and its import takes seconds

    folder = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert tracking.prepare_store() == []
    return folder / "mlflow.db"


DEFINITION = {
    "name": "small",
    "title": "Small",
    "question": "Is a large rate better than a small one?",
    "settings": {"model.name": "resnet34_unet"},
    "factor": "optimizer.lr",
    "arms": {"large": {"optimizer.lr": 1e-3}, "small": {"optimizer.lr": 1e-4}},
    "seeds": [1, 2],
    "hypotheses": [
        {"claim": "large wins", "better": "large", "than": "small", "metric": "test/dice_per_image", "margin": 0.01}
    ],
}


@pytest.fixture
def write_ablation(tmp_path):
    """A function that writes an ablation file, the small one above with changes, and returns its path."""

    def write(file: str = "small.yaml", **changes: object) -> Path:
        path: Path = tmp_path / file
        content = {key: value for key, value in (DEFINITION | changes).items() if value is not None}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write
