"""A real server that is stopped, slow, or never answers."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from segcore.tracking import Feeder, prepare_store
from tests.deliverers import black_hole, expected, histories, slow_line, write_runs
from tests.mlflow_server import free_port, serve
from tests.run_folders import RunFolder
from tests.tracking.test_feeder import wait_until


class Server:
    """An MLflow server that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.stack = folder, free_port(), contextlib.ExitStack()
        self.start()

    def start(self) -> None:
        self.address = self.stack.enter_context(serve(self.folder, port=self.port))

    def stop(self) -> None:
        self.stack.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


def follow(folders: list[RunFolder], experiment: str, **settings: Any) -> Feeder:
    feeder = Feeder(interval_seconds=0.05, **settings)
    for seed, folder in enumerate(folders):
        feeder.watch(folder.note(experiment, seed=seed))
    feeder.start()
    return feeder


def test_a_server_that_is_stopped_in_the_middle_gets_everything_when_it_is_back(
    project: Path, server: Server, make_folder: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    folders = [make_folder(f"f{seed}", 100.0 * seed) for seed in range(3)]
    folders[0].epoch(1)
    feeder = follow(folders, "stopped")
    wait_until(lambda: prepare_store() == [] and "0" in safely(lambda: histories("stopped")))
    server.stop()
    for folder in folders:
        for epoch in range(2 if folder is folders[0] else 1, 41):
            folder.epoch(epoch)
    wait_until(lambda: feeder._absence is not None)
    server.start()
    for folder in folders:
        folder.finish()
    assert feeder.close() == []
    assert histories("stopped") == expected(3, 40)


def safely(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was read, or nothing where the experiment is not there yet."""
    try:
        return read()
    except LookupError:
        return {}


def test_a_slow_server_gets_everything_but_not_the_callers_time(
    project: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slow_line(server.address, seconds=0.06) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        begin = time.monotonic()
        feeder = follow(write_runs(project, num_runs=2, num_epochs=10), "slow")
        assert time.monotonic() - begin < 1.0  # to say all of it takes the line several times that
        slow, command = feeder.close(timeout_seconds=0.6)
        assert time.monotonic() - begin < 3.0
        assert slow == "MLflow did not take lr 1e-3, seed 0; lr 1e-3, seed 1: it was too slow: not done after 1 s"
        assert "python -m segcore.tracking --deliver" in command
        feeder.join()
        later = follow([RunFolder.at(project / "runs" / f"f{seed}") for seed in range(2)], "slow")
        assert later.close() == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    assert histories("slow") == expected(2, 10)


def test_a_server_that_never_answers_is_waited_for_once_a_round_and_hardly_at_the_end(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with black_hole() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address.replace("://", "://me:secret@"))
        begin = time.monotonic()
        feeder = follow(write_runs(project, num_runs=20, num_epochs=1), "hole")
        wait_until(lambda: feeder._absence is not None)
        assert time.monotonic() - begin < 2.5  # 20 runs, one timeout
        assert len(feeder._errors) == 1
        begin = time.monotonic()
        messages = feeder.close()
        assert time.monotonic() - begin < 2.5
    assert "lr 1e-3, seed 0; lr 1e-3, seed 1;" in messages[0] and "and 12 more: " in messages[0]
    assert "timed out" in messages[0] and "secret" not in "".join(messages)
    feeder.join()
