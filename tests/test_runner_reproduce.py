"""`runner.py --reproduce`: a run that was really trained, trained again from what MLflow alone holds of it."""

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from rich.console import Console
from typer.testing import CliRunner

import call as run_here
import runner
from segcore import tracking
from segcore.config import nest
from segcore.errors import UserError
from segcore.execution import reproduction
from segcore.execution.attempts import find_trained
from segcore.execution.comparison import compare
from segcore.execution.folder import RunFolder
from segcore.execution.reproduction import (
    claim_folder,
    compare_with,
    outcome_now,
    prepare,
    read_settings,
    require_same_data,
)
from segcore.execution.reproduction_report import show_comparison, show_differences
from segcore.execution.request import Request
from tests.mlflow_server import serve

ROOT = Path(__file__).resolve().parents[1]
NAME = "rates/large, seed 1"
SETTINGS = {
    "data": {"format": "synthetic", "synthetic_images": 20, "image_size": 32, "batch_size": 4},
    "trainer.epochs": 2,
    "execution": {"threads": 1, "device": "cpu"},
}
ABLATION = {
    "name": "rates",
    "title": "Rates",
    "question": "Which?",
    "settings": SETTINGS,
    "factor": "optimizer.lr",
    "arms": {"large": {"optimizer.lr": 1e-3}, "absurd": {"optimizer.lr": 1e30}},
    "seeds": [1],
}


def call(folder, *arguments, **environment):
    """A call of the runner in a folder, on the folder's own database unless another is given."""
    environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "COLUMNS": "100"} | environment
    return subprocess.run(
        [sys.executable, str(ROOT / "runner.py"), *arguments],
        cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory, empty_database):
    """A folder in which two runs were trained, one of which diverged; their own folders lie in `away/`."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(empty_database, folder / "mlflow.db")
    (folder / "rates.yaml").write_text(yaml.safe_dump(ABLATION, sort_keys=False))
    done = call(folder, "rates.yaml", "--no-report")
    assert done.returncode == 1, done.stdout + done.stderr  # one diverged
    (folder / "runs").rename(folder / "away")
    (folder / "rates.yaml").unlink()
    return folder


@pytest.fixture
def project(trained, monkeypatch):
    """The same folder as the current one, for what needs no process of its own."""
    monkeypatch.chdir(trained)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return trained


@pytest.fixture
def console():
    return Console(width=100, record=True, file=io.StringIO())


def artifact(folder, name, run="large"):
    """The file of a run's artifact."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    [found] = client.search_runs(
        [client.get_experiment_by_name("rates").experiment_id], f"tags.arm = '{run}'"
    )  # fmt: skip
    return Path(found.info.artifact_uri.removeprefix("file://")) / name


def reproductions(folder):
    return [path for path in (folder / "runs" / "reproductions").iterdir() if path.name != "replaced"]


def count_runs(folder):
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return len(client.search_runs([item.experiment_id for item in client.search_experiments()]))


@pytest.fixture(scope="module")
def again(trained, empty_database):
    """The run that finished, trained again from a server that has it: no ablation file, no folder of the run."""
    (trained / "server").mkdir()
    shutil.copy(empty_database, trained / "server" / "mlflow.db")
    with serve(trained / "server") as address:
        deliver_to(address, trained)
        return call(trained, "--reproduce", NAME, MLFLOW_TRACKING_URI=address)


def deliver_to(address, folder):
    """Put the run that finished into the server's database."""
    path = next(path.parent for path in (folder / "away").glob("*/results.json"))
    info = tracking.ExperimentInfo("rates", "", "{}")
    delivery = tracking.Delivery(path, info, "large", 1, "optimizer.lr", path.name, "plan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", address)
        assert tracking.deliver(delivery, MlflowClient(address))


def test_a_run_of_a_server_is_reproduced_bit_for_bit(trained, again):
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Reproduced bit for bit: 2 epochs and 17 metrics at the end. The weights are equal." in again.stdout
    assert "Nothing differs." in again.stdout and max(map(len, again.stdout.splitlines())) <= 110
    [folder] = reproductions(trained)
    content = json.loads((folder / "comparison.json").read_text())
    assert content["reproduced"] and content["weights_equal"] and content["match"] == "equal"
    assert sorted(content["then"]["epochs"]) == sorted(content["now"]["epochs"]) == ["1", "2"]
    assert {metric["metric"] for metric in content["epoch_metrics"]} >= {"train/loss", "val/dice_per_image", "lr"}
    assert all(metric["values"] == 2 and not metric["differing"] for metric in content["epoch_metrics"])
    assert "| 2 | train/loss |" in (folder / "comparison.md").read_text()


def test_nothing_of_it_is_counted_or_tracked(trained, again, monkeypatch):
    monkeypatch.chdir(trained)
    assert count_runs(trained) == 2
    [folder] = reproductions(trained)
    original = next(path for path in (trained / "away").iterdir() if (path / "results.json").is_file())
    asking = RunFolder(trained / "asking")
    asking.path.mkdir()
    asking.write("run", json.loads((original / "run.json").read_text()))
    assert find_trained(asking) is None  # though the reproduction has finished
    assert list(Path("runs").glob("*/run.json")) == [] and folder.name.startswith(original.name)


def test_other_versions_and_threads_are_shown(project, console):
    packages = artifact(project, "requirements.txt")
    text = packages.read_text()
    packages.write_text(text.replace("torch==", "torch==0.") + "gone==1.0\n")
    request = Request(files=[], overrides=["execution.threads=2"])
    try:
        assert run_here.reproduce(NAME, request, dry_run=True, console=console, nursery=None) == 0
    finally:
        packages.write_text(text)
    said = " ".join(console.export_text().split())
    for part in ("torch 0.", "threads 1 2 it can", "1 other package gone 1.0 gone none no", "The same: code, data,"):
        assert part in said
    assert "metric" not in said  # nothing was trained


def test_a_run_that_diverged_comes_back_as_one(project, console):
    prepared = prepare("rates/absurd, seed 1", [], console)
    own = next(path.parent for path in (project / "away").glob("*/state.json") if "diverged" in path.read_text())
    comparison = compare_with(prepared, RunFolder(own))
    assert comparison.is_reproduced and comparison.end is True and comparison.num_epochs == 0
    console.print(show_comparison(comparison, RunFolder(own)))
    said = " ".join(console.export_text().split())
    assert "Reproduced: it ends as it did. Both times: diverged after 0 epochs (training loss is nan in epoch 1" in said


def test_another_recorded_loss_is_not_reproduced(project, console):
    prepared = prepare(NAME, [], console)
    epochs = prepared.outcome.epochs
    worse = {epoch: metrics | {"train/loss": metrics["train/loss"] + 0.1} for epoch, metrics in epochs.items()}
    now = next(path.parent for path in (project / "away").glob("*/results.json"))
    comparison = compare(replace(prepared.outcome, epochs=worse), outcome_now(RunFolder(now)))
    assert not comparison.is_reproduced and comparison.first_different == 1 and comparison.weights is True


def test_damaged_data_is_refused_and_said(project, console):
    image = next((project / "data" / "cache" / "synthetic-20-v1" / "images").iterdir())
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    try:
        prepared = prepare(NAME, ["data.max_skipped_fraction=0.5"], console)
        with pytest.raises(UserError, match=r"data content [0-9a-f]{12} then, [0-9a-f]{12} now; images train"):
            require_same_data(prepared)
        console.print(show_differences(prepared))
        said = console.export_text()
        assert "data content" in said and image.stem in said and "recipe" not in said
    finally:
        image.write_bytes(whole)


def test_another_recipe_is_told_from_other_data(project, console, monkeypatch):
    monkeypatch.setattr("segcore.plan.RECIPE_VERSION", 2)
    [difference] = prepare(NAME, [], console).differences
    assert difference.what == "recipe" and difference.can_change


def test_threads_and_device_are_those_of_then(project, console, monkeypatch):
    file = artifact(project, "config.yaml")
    text = file.read_text()
    settings = yaml.safe_load(text)
    file.write_text(yaml.safe_dump(settings | {"execution": {"device": "auto", "threads": "auto"}}))
    monkeypatch.setattr("segcore.build.count_cores", lambda: 64)
    try:
        execution = prepare(NAME, [], console).run.config.execution
        assert (execution.device, execution.threads) == ("cpu", 1)
        assert prepare(NAME, ["execution.threads=3"], console).run.config.execution.threads == 3
    finally:
        file.write_text(text)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["optimizer.lr=0.1"], "optimizer.lr cannot be changed.*Only what does not change a result"),
        (["seed=2"], "seed cannot be changed"),
        (["data.format=pets"], "data.format cannot be changed"),
        (["execution.thread=2"], "execution.thread is not a setting; did you mean execution.threads"),
        (["execution.threads=many"], "execution.threads = 'many'"),
    ],
)
def test_overrides_that_make_another_run_are_refused(project, console, overrides, said):
    with pytest.raises(UserError, match=said):
        prepare(NAME, overrides, console)


def test_settings_of_another_version_are_refused_with_its_commit(project, console):
    recorded = prepare(NAME, [], console).recorded
    newer = replace(recorded, settings=recorded.settings | {"trainer.magic": 1})
    with pytest.raises(UserError, match=r"trainer.magic: .*check out the commit"):
        read_settings(newer, "run x")
    assert nest(recorded.settings) == read_settings(recorded, "run x").model_dump()


def test_a_reproduction_is_one_call_s_goes_on_where_it_was_cut_short_and_else_begins_anew(
    project, console, monkeypatch
):
    run = prepare(NAME, [], console).run
    claim_folder(run).release()
    folder = RunFolder(Path("runs") / run.fingerprint)
    first = folder.read("run")["attempt"]
    folder.append("epochs", {"epoch": 1, "time": 0.0, "metrics": {}})
    folder.set_state("interrupted")
    claim_folder(run).release()
    assert folder.read("run")["attempt"] == first and list(folder.lines("epochs"))
    folder.set_state("finished")
    claim = claim_folder(run)
    assert folder.read("run")["attempt"] != first and not list(folder.lines("epochs"))
    monkeypatch.setattr(reproduction, "WAITING_SECONDS", 0.5)
    with pytest.raises(UserError, match="another call is reproducing this run"):
        claim_folder(run)
    claim.release()


@pytest.mark.parametrize(
    "arguments",
    [["loss"], ["--jobs", "2"], ["--list"], ["--seeds", "1"], ["--rerun"], ["--calibrate"], ["--preset", "demo"]],
)
def test_what_belongs_to_ablations_is_refused_at_once(arguments):
    done = CliRunner().invoke(runner.app, ["--reproduce", "x", *arguments])
    assert done.exit_code == 2 and "--reproduce RUN goes with KEY=VALUE, --retries and --dry-run alone" in done.output
