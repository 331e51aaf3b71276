"""Several attempts at one run: what replaces what, and what is read while one replaces the other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from segcore.tracking import folder as folder_module
from segcore.tracking.delivery import deliver
from segcore.tracking.folder import read_run
from segcore.tracking.view import SEARCH

MakeFolder = Callable[..., Any]


def superseded(client: MlflowClient, experiment: str) -> list[str | None]:
    """The state of the run that supersedes each run, oldest first."""
    runs = sorted(client.search_runs([experiment]), key=lambda run: run.info.start_time)
    state = {run.info.run_id: run.data.tags["state"] for run in runs}
    return [state.get(run.data.tags.get("superseded_by", "")) for run in runs]


def attempt(make_folder: MakeFolder, name: str, state: str, delay: float) -> Any:
    folder = make_folder(name, delay)
    folder.epoch(1)
    if state == "finished":
        folder.finish()
    else:
        folder.state(state, reason="Ctrl-C", ended=1_700_000_900.0)
    return folder


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1), (3, 2, 1, 0)])
def test_a_finished_attempt_supersedes_those_before_it_in_whatever_order_they_come(
    order: tuple[int, ...], make_folder: MakeFolder, client: MlflowClient, experiment: str
) -> None:
    states = ("finished", "interrupted", "finished", "interrupted")
    folders = [attempt(make_folder, f"f{index}", state, 100.0 * index) for index, state in enumerate(states)]
    for index in order * 2:
        assert deliver(folders[index].delivery(experiment, fingerprint="same"), client)
    assert superseded(client, experiment) == ["finished", "finished", None, None]


def test_other_arms_seeds_settings_and_experiments_are_not_superseded(
    make_folder: MakeFolder, client: MlflowClient, experiment: str
) -> None:
    other = client.create_experiment("other")
    for delay, (place, arm, seed, fingerprint) in enumerate(
        [(experiment, "b", 1, "x"), (experiment, "a", 2, "x"), (experiment, "a", 1, "y"), (other, "a", 1, "x")]
    ):
        folder = attempt(make_folder, f"f{delay}", "finished", float(delay))
        deliver(folder.delivery(place, arm, seed, fingerprint), client)
    deliver(attempt(make_folder, "last", "finished", 100.0).delivery(experiment, "a", 1, "x"), client)
    assert superseded(client, experiment) == [None] * 4
    assert superseded(client, other) == [None]


def test_the_view_leaves_out_superseded_runs(make_folder: MakeFolder, client: MlflowClient, experiment: str) -> None:
    for delay in (0.0, 100.0):
        folder = attempt(make_folder, f"f{delay}", "finished", delay)
        deliver(folder.delivery(experiment, fingerprint="same"), client)
    [shown] = client.search_runs([experiment], SEARCH)
    assert shown.info.start_time == 1_700_000_100_000


def test_an_attempt_that_is_replaced_while_it_is_read_is_read_in_the_next_round(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = attempt(make_folder, "f1", "finished", 0.0)
    read = folder_module._read_json

    def replace_after(name: str, replace: Callable[[], Any]) -> Callable[[Path], Any]:
        def read_json(file: Path) -> Any:
            content = read(file)
            if file.name == name:
                replace()
            return content

        return read_json

    def begin_next() -> None:
        folder.write("run.json", {"attempt": "next", "created": 1_700_000_100.0})

    assert read_run(folder.path) is not None
    monkeypatch.setattr(folder_module, "_read_json", replace_after("state.json", begin_next))
    assert read_run(folder.path) is None
    monkeypatch.setattr(folder_module, "_read_json", replace_after("results.json", (folder.path / "state.json").unlink))
    assert read_run(folder.path) is None
    monkeypatch.undo()
    folder.state("running")
    found = read_run(folder.path)
    assert found is not None and (found.attempt, found.state) == ("next", "running")


def test_an_attempt_that_is_gone_is_no_run(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = attempt(make_folder, "f1", "finished", 0.0)
    read_text = folder_module._read_text
    run_file = folder.path / "run.json"
    texts = iter([json.dumps({"attempt": "old", "created": 1.0}), None])
    monkeypatch.setattr(folder_module, "_read_text", lambda file: next(texts) if file == run_file else read_text(file))
    assert read_run(folder.path) is None
