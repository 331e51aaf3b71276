"""A run that is continued is the same attempt, and the same run in MLflow."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from segcore.execution.differences import part_differences
from segcore.tracking.delivery import deliver

MakeFolder = Callable[..., Any]


def only_run(client: MlflowClient, experiment: str) -> Any:
    [run] = client.search_runs([experiment])
    return run


def steps(client: MlflowClient, run: Any, key: str = "train/loss") -> list[int]:
    return [metric.step for metric in client.get_metric_history(run.info.run_id, key)]


def log_of(client: MlflowClient, run: Any, folder: Path) -> str:
    return Path(client.download_artifacts(run.info.run_id, "log.txt", str(folder))).read_text()


@pytest.mark.parametrize(("state", "status"), [("lost", "KILLED"), ("failed", "FAILED"), ("interrupted", "KILLED")])
def test_a_run_goes_on_and_everything_follows(
    state: str, status: str, make_folder: MakeFolder, client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    folder = make_folder("f1")
    folder.epoch(1)
    log = folder.path / "log.txt"
    log.write_text("epoch 1\nKilled\n")
    folder.state(state, reason="its process is gone", ended=1_700_000_015.0)
    assert deliver(folder.delivery(experiment), client)
    run = only_run(client, experiment)
    assert (run.info.status, run.info.end_time) == (status, 1_700_000_015_000)
    assert run.data.tags["reason"] == "its process is gone" and "resumed" not in run.data.tags

    folder.write("run.json", folder.run | {"resumed": 1})
    folder.state("running")
    folder.epoch(2)
    assert not deliver(folder.delivery(experiment), client)
    run = only_run(client, experiment)
    assert (run.info.status, run.data.tags["state"], run.data.tags["resumed"]) == ("RUNNING", "running", "1")
    assert (run.data.tags["reason"], run.data.tags.get("log_tail", "")) == ("", "")
    assert run.data.tags["mlflow.note.content"] == "lr 1e-3, seed 42 is being trained."

    log.write_text(log.read_text() + "epoch 2\n")
    folder.finish()
    log.write_text("epoch 1\nKilled\nepoch 2\n")
    assert deliver(folder.delivery(experiment), client)
    run = only_run(client, experiment)
    assert (run.info.status, run.info.end_time) == ("FINISHED", 1_700_000_060_000)
    assert "finished after 2 epochs" in run.data.tags["mlflow.note.content"]
    assert (steps(client, run), log_of(client, run, tmp_path)) == ([1, 2], "epoch 1\nKilled\nepoch 2\n")


def test_a_log_that_grew_after_the_end_is_sent_again(
    make_folder: MakeFolder, client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    folder = make_folder("f1")
    log = folder.path / "log.txt"
    log.write_text("epoch 1\n")
    folder.state("failed", reason="crashed", ended=1_700_000_015.0)
    assert deliver(folder.delivery(experiment), client)
    log.write_text("epoch 1\nSegmentation fault\n")
    assert deliver(folder.delivery(experiment), client)
    run = only_run(client, experiment)
    assert log_of(client, run, tmp_path) == "epoch 1\nSegmentation fault\n"
    assert run.data.tags["log_tail"] == "epoch 1\nSegmentation fault"


def test_a_run_that_went_on_with_other_code_tells_of_both_parts(
    make_folder: MakeFolder, client: MlflowClient, experiment: str
) -> None:
    folder = make_folder("f1")
    folder.epoch(1)
    first, second = {"git_commit": "a" * 40, "git_diff": "0a1b2c3d4e5f"}, {"git_commit": "b" * 40, "git_diff": None}
    folder.write("environment.json", first)
    folder.state("failed", reason="crashed", ended=1_700_000_015.0)
    assert deliver(folder.delivery(experiment), client)
    assert only_run(client, experiment).data.tags["git_diff"] == "0a1b2c3d4e5f"
    folder.write("environment.json", second | {"earlier": {key: [value] for key, value in first.items()}})
    folder.finish()
    assert deliver(folder.delivery(experiment), client)
    tags = only_run(client, experiment).data.tags
    assert (tags["git_commit"], tags["git_diff"]) == ("b" * 40, "")
    found = {item.what: (item.then, item.now) for item in part_differences(tags, second)}
    assert found == {
        "git commit of a part": ("aaaaaaaaaaaa", "bbbbbbbbbbbb"),
        "uncommitted code of a part": ("0a1b2c3d4e5f", "none"),
    }


@pytest.mark.parametrize("torn_at", [1, 20, 60, 75])
def test_lines_around_a_torn_one_arrive_once(
    torn_at: int, make_folder: MakeFolder, client: MlflowClient, experiment: str
) -> None:
    """The process that goes on writes right behind the torn piece, and computes an epoch again that was whole."""
    folder = make_folder("f1")
    epochs = folder.path / "epochs.jsonl"
    for epoch in (1, 2, 3):
        folder.epoch(epoch)
    whole = epochs.read_text().splitlines(keepends=True)
    epochs.write_text(whole[0] + whole[1] + whole[2][:torn_at])
    assert not deliver(folder.delivery(experiment), client)
    assert steps(client, only_run(client, experiment)) == [1, 2]
    folder.epoch(2, **{"train/loss": 7.0})
    folder.epoch(3)
    folder.epoch(4)
    folder.finish()
    assert deliver(folder.delivery(experiment), client)
    run = only_run(client, experiment)
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]


@pytest.mark.parametrize("order", [*itertools.permutations(range(3), 2)])
def test_of_doubled_runs_one_is_kept_by_everybody(
    order: tuple[int, int], make_folder: MakeFolder, client: MlflowClient, experiment: str
) -> None:
    """As a request leaves them that timed out and was carried out all the same."""
    folder = make_folder("f1")
    folder.epoch(1)
    tags = {"attempt": folder.run["attempt"], "arm": "lr 1e-3", "seed": "42"}
    made = [client.create_run(experiment, 1_700_000_000_000 + delay, tags).info.run_id for delay in order]
    copy = client.create_run(
        client.create_experiment("other"), tags=tags | {"reused_from": made[order.index(max(order))]}
    )
    assert not deliver(folder.delivery(experiment), client)
    run = only_run(client, experiment)
    assert run.info.run_id == made[order.index(min(order))]
    assert steps(client, run) == [1]
    assert client.get_run(copy.info.run_id).data.tags["reused_from"] == run.info.run_id
    folder.finish()
    assert deliver(folder.delivery(experiment), client)
    client.create_run(experiment, 1, tags)  # later, and older: the one that is whole stays
    assert deliver(folder.delivery(experiment), client)
    assert only_run(client, experiment).info.run_id == run.info.run_id
