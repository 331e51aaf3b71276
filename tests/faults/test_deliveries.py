"""The long versions of what `tests/tracking` does: many kills, many writers, a server that comes and goes."""

import random
import shutil
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from segcore import tracking
from tests.deliverers import expected, histories, kill_some, start, write_runs
from tests.mlflow_server import free_port, serve

pytestmark = pytest.mark.faults


@pytest.fixture
def project(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return tmp_path


def test_fifty_kills(project: Path) -> None:
    paths, uri = [folder.path for folder in write_runs(project, 6, 50)], tracking.tracking_uri()
    num_cut = kill_some(paths, uri, num_kills=50, seconds=2.5, seed=1)
    last = start(paths, uri)
    last.join()
    assert last.exitcode == 0 and num_cut >= 10
    print(f"{num_cut} of 50 deliveries were cut short")
    assert histories() == expected(6, 50)


def test_eight_writers_that_are_killed_and_begun_again(project: Path) -> None:
    """Each tries to deliver everything."""
    paths, uri = [folder.path for folder in write_runs(project, 8, 50)], tracking.tracking_uri()
    moments, writers = random.Random(2), [start(paths, uri) for _ in range(8)]
    for _ in range(24):
        time.sleep(moments.uniform(0.0, 1.0))
        killed = moments.choice(writers)
        killed.kill()
        killed.join()
        writers[writers.index(killed)] = start(paths, uri)
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
    assert histories() == expected(8, 50)


def test_a_server_that_comes_and_goes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    folders = write_runs(project, 12, 100)
    feeder = tracking.Feeder(interval_seconds=0.1)
    for seed, folder in enumerate(folders):
        feeder.watch(folder.note("lr_sweep", seed=seed))
    feeder.start()
    for seconds in (1.0, 2.0, 3.0):
        with serve(project, port=port):
            time.sleep(seconds)
        time.sleep(2.0)
    with serve(project, port=port):
        # A server that has just started takes seconds for its first answer, longer than a closing call waits.
        MlflowClient().search_experiments(max_results=1)
        assert feeder.close(timeout_seconds=300) == []
        assert histories() == expected(12, 100)
