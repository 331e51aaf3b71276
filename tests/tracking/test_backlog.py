"""`python -m segcore.tracking --deliver`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner, Result

from segcore import tracking
from segcore.execution.folder import RunFolder as ExecutionFolder
from segcore.execution.pruning import Holdings
from segcore.tracking.__main__ import app
from segcore.tracking.folder import read_run
from segcore.tracking.noted import read_noted
from tests.deliverers import expected, experiment_called, histories, write_runs
from tests.run_folders import RunFolder

REPOSITORY = Path(__file__).parents[2]


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def shown(result: Result) -> str:
    """What it printed, line breaks of the terminal left out."""
    return " ".join((result.stdout + result.stderr).split())


def test_a_new_server_gets_everything_without_an_ablation_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = write_runs(project, num_runs=3, num_epochs=5)
    folders[2].path.rename(project / "runs" / "replaced-one")
    (project / "runs" / "replaced").mkdir()
    (project / "runs" / "replaced-one").rename(project / "runs" / "replaced" / "f2-attempt")
    folders[0].note("best", arm="adamw", seed=0)
    for database in ("first.db", "second.db"):
        shutil.copy("mlflow.db", database)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/{database}")
        for _ in range(2):
            result = command("--deliver")
            assert (result.exit_code, result.stderr) == (0, "")
            assert shown(result) == f"MLflow at sqlite:///{project}/{database} holds all there is of 4 runs."
        assert histories() == expected(3, 5)
        client = tracking.tracking_client()
        [copy] = client.search_runs([experiment_called("best").experiment_id])
        assert copy.data.tags["arm"] == "adamw" and "reused_from" in copy.data.tags
        assert experiment_called("best").tags["mlflow.note.content"].startswith("About best.")


def test_a_folder_may_be_removed_when_mlflow_holds_all_of_it(project: Path, client: MlflowClient) -> None:
    fine, old = write_runs(project, num_runs=2, num_epochs=2)
    assert not tracking.holds_all_of(fine.path)
    assert command("--deliver").exit_code == 0
    assert tracking.holds_all_of(fine.path) and Holdings().has(ExecutionFolder(fine.path))
    (old.path / "experiments.jsonl").write_text('{"name": "older"}\n')
    assert not tracking.holds_all_of(old.path) and not Holdings().has(ExecutionFolder(old.path))
    Path("mlflow.db").rename("elsewhere.db")
    assert not Holdings().has(ExecutionFolder(fine.path)) and not Path("mlflow.db").exists()


def test_a_run_that_is_being_trained_is_delivered_as_far_as_it_is(
    make_folder: Callable[..., RunFolder], client: MlflowClient
) -> None:
    folder = make_folder("f1")
    folder.epoch(1)
    folder.note("lr_sweep", seed=0)
    result = command("--deliver", folder.path)
    assert result.exit_code == 0 and "1 of them is not over yet" in shown(result)
    assert histories() == expected(1, 1)


def test_what_cannot_be_delivered_is_named_with_its_reason(project: Path, client: MlflowClient) -> None:
    fine, old, nobodys, damaged = write_runs(project, num_runs=4, num_epochs=1)
    (old.path / "experiments.jsonl").write_text('{"name": "older"}\n')
    (nobodys.path / "experiments.jsonl").unlink()
    (damaged.path / "state.json").write_text("{")
    result = command("--deliver")
    says = shown(result)
    assert result.exit_code == 1 and "holds all there is of 1 run." in says and "3 could not be delivered" in says
    assert (
        f"runs/f1 to older: {'an older version of the suite noted no more than the name: only'} `python runner.py`"
        in says
    )
    assert "runs/f2: the folder names no experiment: only `python runner.py` of its ablation can" in says
    assert "lr_sweep/lr 1e-3, seed 3: " in says and "Traceback" not in says
    assert list(histories()) == ["0"]
    assert command("--deliver", fine.path).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to do; say: python -m segcore.tracking --deliver"),
        (["--deliver"], "there are no runs here; go to the folder in which they were trained"),
        (["--deliver", "elsewhere"], "elsewhere: is no run's folder, which has a run.json in it"),
        (["--deliver", "x" * 300], "is no run's folder, which has a run.json in it"),
    ],
)
def test_a_wrong_request_is_an_error(arguments: list[str], says: str, project: Path) -> None:
    result = command(*arguments)
    assert (result.exit_code, result.stdout) == (2, "") and says in shown(result)


def test_what_has_not_begun_is_not_counted_as_held(project: Path, client: MlflowClient) -> None:
    _, second = write_runs(project, num_runs=2, num_epochs=1)
    (second.path / "state.json").unlink()
    result = command("--deliver")
    assert result.exit_code == 0
    assert "holds all there is of 1 run. 1 has not begun: there is nothing of it." in shown(result)
    assert list(histories()) == ["0"]


@pytest.mark.parametrize("state", ["", "{}", "[]", '{"state": "other"}', '{"state": "finished", "ended": Infinity}'])
def test_a_damaged_end_is_told_and_not_counted_as_held(state: str, project: Path, client: MlflowClient) -> None:
    _, damaged = write_runs(project, num_runs=2, num_epochs=1)
    (damaged.path / "state.json").write_text(state)
    result = command("--deliver")
    assert result.exit_code == 1
    assert "holds all there is of 1 run." in shown(result)
    assert "lr_sweep/lr 1e-3, seed 1: runs/f1: its files are damaged (" in shown(result)
    assert "--rerun --only ARM --seeds SEED trains it anew" in shown(result)


@pytest.mark.parametrize("name", ["run.json", "experiments.jsonl"])
@pytest.mark.parametrize("content", ["[" * 100_000, '{"name": ' * 50_000, '{"created": 1e999, "noted": 1e999}', None])
def test_one_damaged_folder_keeps_no_other_from_its_delivery(
    name: str, content: str | None, project: Path, client: MlflowClient
) -> None:
    damaged, _ = write_runs(project, num_runs=2, num_epochs=1)
    (damaged.path / name).unlink()
    if content is None:
        (damaged.path / name).mkdir()
    else:
        (damaged.path / name).write_text(content)
    result = command("--deliver")
    assert result.exit_code == 1
    assert "holds all there is of 1 run." in shown(result) and "1 could not be delivered" in shown(result)
    assert list(histories()) == ["1"]


@pytest.mark.parametrize("uri", ["http://[bad", "sqlite://", "sqlite:///:memory:", "postgresql://u:hun[secret@host/db"])
def test_an_address_that_is_none_is_an_error_that_does_not_show_it(
    uri: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_runs(project, num_runs=1, num_epochs=1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    result = command("--deliver")
    assert result.exit_code == 2 and "error: MLFLOW_TRACKING_URI is " in shown(result)
    assert "bad" not in shown(result) and "secret" not in shown(result)


@pytest.mark.parametrize("uri", ["http://me:secret@127.0.0.1:9", "./mlruns"])
def test_an_unusable_mlflow_is_an_error(uri: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_runs(project, num_runs=1, num_epochs=1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    result = command("--deliver")
    assert result.exit_code == 2 and "secret" not in shown(result) and "MLFLOW_TRACKING_URI" in shown(result)


def test_the_definition_that_was_noted_last_stays(project: Path, client: MlflowClient) -> None:
    first, second = write_runs(project, num_runs=2, num_epochs=1)
    second.note("lr_sweep", seed=1, noted=5.0)
    first.note("lr_sweep", seed=0, noted=3.0)
    assert command("--deliver").exit_code == 0
    tags = experiment_called("lr_sweep").tags
    assert tags["ablation_noted"] == "5.0"
    newer = tracking.ExperimentInfo("lr_sweep", "Of another machine.", '{"seeds": [1]}', 7.0)
    tracking.prepare_store([newer])
    assert command("--deliver").exit_code == 0
    tags = experiment_called("lr_sweep").tags
    assert tags["ablation"] == '{"seeds": [1]}' and tags["mlflow.note.content"].startswith("Of another machine.")


def test_a_note_is_read_as_it_was_written(make_folder: Callable[..., RunFolder], project: Path) -> None:
    folder = make_folder("f1")
    lines = folder.path / "experiments.jsonl"
    lines.write_text('{"name": "old"}\n{"name": "lr_sweep"}\n')
    first = folder.note("lr_sweep", arm="a")
    with lines.open("a") as file:
        file.write(json.dumps({"name": "torn", "arm": "b"})[:-8])
    second, third = folder.note("lr_sweep", arm="b"), folder.note("lr_sweep", arm="a", plan="plan2")
    noted = read_noted(folder.path)
    assert noted.deliveries == (third, second) and noted.names_only == ("old",)
    assert first != third
    files = read_run(folder.path)
    assert files is not None and files.state == "running"


def test_as_a_program_of_its_own(project: Path) -> None:
    write_runs(project, num_runs=1, num_epochs=1)
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    program = subprocess.run(
        [sys.executable, "-m", "segcore.tracking", "--deliver"], env=environment, capture_output=True, text=True
    )
    assert (program.returncode, program.stderr) == (0, "")
    assert program.stdout == f"MLflow at sqlite:///{project}/mlflow.db holds all there is of 1 run.\n"
    assert histories() == expected(1, 1)
