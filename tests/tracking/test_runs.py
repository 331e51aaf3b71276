from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from segcore.errors import UserError
from segcore.tracking.delivery import deliver
from segcore.tracking.runs import find_runs, open_run


@pytest.fixture
def deliver_run(make_folder: Callable[[str], Any], client: MlflowClient) -> Callable[..., str]:
    """Delivers a finished run and returns its id."""

    def deliver_run(fingerprint: str, experiment: str, arm: str) -> str:
        folder = make_folder(fingerprint)
        folder.finish()
        deliver(folder.delivery(experiment, arm), client)
        return next(str(run.info.run_id) for run in client.search_runs([experiment]) if run.data.tags["arm"] == arm)

    return deliver_run


@pytest.mark.parametrize("arm", ["lr 1e-3", '0.5 % "odd" arm\'s', "ünïcode_"])
def test_a_run_is_found_by_its_id_its_beginning_or_its_name(
    arm: str, deliver_run: Callable[..., str], experiment: str
) -> None:
    run_id = deliver_run("f1", experiment, arm)
    deliver_run("f2", experiment, "another")
    for name in (run_id, run_id[:12], f"{arm}, seed 42"):
        assert open_run(name).read_bytes() == b"weights of f1"


def test_no_run_and_several_runs_are_errors(
    deliver_run: Callable[..., str], client: MlflowClient, experiment: str
) -> None:
    ids = [
        deliver_run("f1", experiment, "lr 1e-3"),
        deliver_run("f2", client.create_experiment("lr_sweep-demo"), "lr 1e-3"),
    ]
    with pytest.raises(UserError, match="2 runs are called 'lr 1e-3, seed 42'; choose one of") as raised:
        open_run("lr 1e-3, seed 42")
    assert all(run_id in str(raised.value) for run_id in ids)
    for place, weights in (("lr_sweep", b"weights of f1"), ("lr_sweep-demo", b"weights of f2")):
        assert f"  {place}/lr 1e-3, seed 42  (begun 20" in str(raised.value)
        assert open_run(f"{place}/lr 1e-3, seed 42").read_bytes() == weights
    for name in ("lr 1e-4, seed 42", "lr 1e-3, seed 4_", "0" * 32, "absent/lr 1e-3, seed 42", "lr_sweep/", "sweep/lr"):
        with pytest.raises(UserError, match="no run in MLflow"):
            open_run(name)


def test_slashes_may_be_part_of_both_names(deliver_run: Callable[..., str], client: MlflowClient) -> None:
    deliver_run("f1", client.create_experiment("a/b"), "rate 1/2")
    for name in ("rate 1/2, seed 42", "a/b/rate 1/2, seed 42"):
        assert open_run(name).read_bytes() == b"weights of f1"


def test_the_newest_finished_attempt_counts(
    make_folder: Callable[..., Any], client: MlflowClient, experiment: str
) -> None:
    for delay, name in enumerate(("f1", "f2", "f3")):
        folder = make_folder(name, 100.0 * delay)
        folder.finish() if name != "f3" else folder.state("interrupted", "Ctrl-C", ended=1_700_000_300.0)
        deliver(replace(folder.delivery(experiment), fingerprint="same"), client)
    assert open_run("lr 1e-3, seed 42").read_bytes() == b"weights of f2"


def test_runs_of_one_name_with_other_settings_are_told_apart(
    make_folder: Callable[..., Any], client: MlflowClient, experiment: str
) -> None:
    for name, decay in (("f1", 0.1), ("f2", 0.2)):
        folder = make_folder(name)
        settings = yaml.safe_load((folder.path / "settings.yaml").read_text())
        settings["optimizer"]["weight_decay"] = decay
        (folder.path / "settings.yaml").write_text(yaml.safe_dump(settings))
        folder.finish()
        deliver(folder.delivery(experiment), client)
    with pytest.raises(UserError, match=r"2 runs are called(?s:.*)\(begun 20.*, optimizer\.weight_decay=0\.2\)"):
        open_run("lr 1e-3, seed 42")


def test_without_a_database_none_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match=r"no mlflow\.db in this folder"):
        open_run("lr 1e-3, seed 42")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["http://user:secret@127.0.0.1:9", "sqlite:////dev/null/mlflow.db"])
def test_a_store_that_cannot_be_asked_is_an_error(uri: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match="MLflow cannot be used at") as raised:
        open_run("lr 1e-3, seed 42")
    assert "secret" not in str(raised.value)


def test_a_run_without_weights_is_an_error(
    make_folder: Callable[[str], Any], client: MlflowClient, experiment: str
) -> None:
    folder = make_folder("f1")
    folder.state("failed", reason="out of memory")
    deliver(folder.delivery(experiment), client)
    with pytest.raises(UserError, match=r"has no best\.safetensors: it is failed"):
        open_run("lr 1e-3, seed 42")


def test_all_pages_of_runs_are_read(client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(1, 6):
        client.create_run(experiment, start_time=index)
    two_at_a_time = partial(client.search_runs, max_results=2)
    monkeypatch.setattr(client, "search_runs", two_at_a_time)
    assert [run.info.start_time for run in find_runs(client, "")] == [1, 2, 3, 4, 5]
