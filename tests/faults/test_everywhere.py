"""One ablation, everywhere: the same metrics and the same report, whatever computes it and whatever tracks it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256

import pytest

from tests.faults.calls import PROJECT, World
from tests.mlflow_server import serve
from tests.postgresql import NotInstalledError, postgresql

TWO_ARMS = {
    "arms": {"large": {"optimizer.lr": 1e-3}, "small": {"optimizer.lr": 1e-4}},
    "seeds": [1, 2],
    "hypotheses": [
        {"claim": "large wins", "better": "large", "than": "small", "metric": "test/dice_per_image", "margin": 0.005}
    ],
}
# What is another each time: how long a training took, and what memory it held. Two cells of a row, and a sentence.
COST = re.compile(r"(\| \d+\.\d\d \|)[^|]*\|[^|]*(\| \d of \d \|)$|(?<=else that is set\.).*$", re.MULTILINE)
OF_COST = "faults_time"


def report_of(world: World, uri: str | None) -> dict[str, str]:
    """The report as Markdown without what it tells of time and memory, and a hash of each of its other figures."""
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    if uri:
        environment["MLFLOW_TRACKING_URI"] = uri
    environment["PYTHONPATH"] = str(PROJECT)
    command = [sys.executable, "-m", "analysis.report", "faults", "--output", "report"]
    subprocess.run(command, cwd=world.folder, env=environment, check=True, capture_output=True)
    text, found = COST.subn(r"\1 ... \2", (world.folder / "report" / "report.md").read_text())
    assert found == len(TWO_ARMS["arms"]) + 1
    figures = [path for path in world.folder.rglob("report/figures/*.png") if path.stem != OF_COST]
    return {"report.md": text} | {path.name: sha256(path.read_bytes()).hexdigest() for path in figures}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`mlflow server` on PostgreSQL."""
    try:
        with postgresql() as database:
            folder = tmp_path_factory.mktemp("server")
            with serve(folder, workers=2, store=database.create_database("mlflow")) as address:
                yield address
    except NotInstalledError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """A Ray cluster of two nodes on this machine."""
    pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-ray.txt")
    from tests.faults.ray_nodes import two_nodes

    with two_nodes() as nodes:
        yield nodes.address


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, dict[str, str]]:
    """Computed one after the other on this machine and tracked in SQLite: what the others are held against."""
    world = World(tmp_path_factory.mktemp("here"))
    world.write(**TWO_ARMS)
    assert world.call() == 0, world.output
    report = report_of(world, None)
    assert "large wins" in report["report.md"]
    assert len(report) > 8
    return world, report


@pytest.mark.faults
@pytest.mark.parametrize("where", ["two jobs", "PostgreSQL", "Ray"])
def test_the_same_ablation_gives_the_same_numbers_and_the_same_report(where, here, tmp_path, request):
    world, report = here
    other = World(tmp_path)
    other.write(**TWO_ARMS)
    shutil.copytree(world.folder / "data", other.folder / "data")
    arguments, uri = [], None
    if where == "two jobs":
        arguments = ["--jobs", "2"]
    if where == "Ray":
        arguments = ["--launcher", "ray", "--address", request.getfixturevalue("ray_address")]
    if where == "PostgreSQL":
        uri = request.getfixturevalue("address")
    assert other.call(*arguments, **({"MLFLOW_TRACKING_URI": uri} if uri else {})) == 0, other.output
    assert other.numbers() == world.numbers()
    assert report_of(other, uri) == report
