"""A whole ablation on `mlflow server` with PostgreSQL, and the same runs in SQLite and in PostgreSQL without a server.

The networks are trained once, over HTTP; another store gets what lies in `runs/`, as a call with another
MLFLOW_TRACKING_URI delivers it.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from typer.testing import CliRunner

from analysis import report
from analysis.results import list_experiments, load_images, load_results, load_sheet, load_threshold_curves, make_client
from segcore import evaluate, predict

ROOT = Path(__file__).resolve().parents[2]
ABLATION = {
    "name": "rates",
    "title": "Rates",
    "question": "Is a large rate better than a small one?",
    "settings": {
        "data": {"format": "synthetic", "synthetic_images": 20, "image_size": 32, "batch_size": 4},
        "trainer.epochs": 2,
        "execution": {"threads": 1, "device": "cpu"},
    },
    "factor": "optimizer.lr",
    "arms": {"large": {"optimizer.lr": 3e-3}, "small": {"optimizer.lr": 1e-4}},
    "seeds": [1, 2],
    "hypotheses": [
        {"claim": "large wins", "better": "large", "than": "small", "metric": "test/dice_per_image", "margin": 0.01}
    ],
}
# What says where a run is kept, not what it is.
PLACES = ["run_id", "artifact_uri"]


def start(command, folder, uri):
    """A process of the suite in a folder, with this tracking address."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, **pipes)


def finish(process):
    """What the process said; it has to have gone well."""
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def trained(server, tmp_path_factory):
    """The folder in which the ablation was trained, with the server as its MLflow; and what the call said."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "rates.yaml").write_text(yaml.safe_dump(ABLATION, sort_keys=False))
    return folder, finish(start([str(ROOT / "runner.py"), "rates.yaml", "--no-report"], folder, server.address))


@pytest.fixture(scope="module")
def http(trained, server):
    """The store of the server: the folder that the suite works in, and the tracking address."""
    return trained[0], server.address


@pytest.fixture(scope="module")
def sqlite(trained, tmp_path_factory):
    """A store with the same runs in SQLite."""
    folder = tmp_path_factory.mktemp("sqlite") / "project"
    return deliver_again(trained[0], folder, f"sqlite:///{folder}/mlflow.db")


@pytest.fixture(scope="module")
def postgresql(trained, server, tmp_path_factory):
    """A store with the same runs in PostgreSQL, without a server between."""
    folder = tmp_path_factory.mktemp("postgresql") / "project"
    return deliver_again(trained[0], folder, server.database.create_database("direct"))


def deliver_again(trained, folder, uri):
    """A call in a copy of the folder, which has nothing to train but delivers what the store does not know."""
    shutil.copytree(trained, folder, copy_function=copy_or_link)
    call = start([str(ROOT / "runner.py"), "rates.yaml", "--no-report"], folder, uri)
    assert "nothing to train; before it" in finish(call)
    return folder, uri


def copy_or_link(source, target):
    """Weights are large, and nothing writes into them."""
    (os.link if source.endswith(".safetensors") else shutil.copy2)(source, target)


# SQLite in every run of the tests; the rest, which takes another half a minute, with the long ones.
OTHERS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.faults)]


def load(store, monkeypatch):
    """Everything that the analysis reads of a store."""
    folder, uri = store
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = make_client()
    return client, load_results(client, "rates")


def write_report(store, monkeypatch):
    """The files of a report that this process writes, by their names."""
    folder, uri = store
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert report.main(["--output", "report"]) == 0
    return content(folder / "report")


def content(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_call_trains_and_delivers(trained, server):
    assert "This call: 4 finished." in trained[1]
    client = MlflowClient(server.address)
    runs = client.search_runs([client.get_experiment_by_name("rates").experiment_id], "tags.arm LIKE '%'")
    assert sorted(run.info.run_name for run in runs) == [
        "large, seed 1", "large, seed 2", "small, seed 1", "small, seed 2",
    ]  # fmt: skip
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        history = client.get_metric_history(run.info.run_id, "val/dice_per_image")
        assert [point.step for point in history] == [1, 2]
        assert len(run.outputs.model_outputs) == 1


def test_mlflow_holds_the_numbers_of_the_folders_to_the_last_bit(trained, server):
    client = MlflowClient(server.address)
    for folder in (path.parent for path in trained[0].glob("runs/*/run.json")):
        attempt = json.loads((folder / "run.json").read_text())["attempt"]
        ids = [client.get_experiment_by_name("rates").experiment_id]
        [run] = client.search_runs(ids, f"tags.attempt = '{attempt}'")
        results = json.loads((folder / "results.json").read_text())["metrics"]
        assert {name: run.data.metrics[name] for name in results} == results
        for line in map(json.loads, (folder / "epochs.jsonl").read_text().splitlines()):
            for name, value in line["metrics"].items():
                history = {point.step: point.value for point in client.get_metric_history(run.info.run_id, name)}
                assert history[line["epoch"]] == value


@pytest.mark.parametrize("name", OTHERS)
def test_another_store_tells_the_same(http, name, request, monkeypatch):
    client, through_server = load(http, monkeypatch)
    images, curves = load_images(client, through_server), load_threshold_curves(client, through_server)
    sheet = load_sheet(client, through_server, "small", 2, "worst")
    other, direct = load(request.getfixturevalue(name), monkeypatch)
    pd.testing.assert_frame_equal(through_server.runs.drop(columns=PLACES), direct.runs.drop(columns=PLACES))
    pd.testing.assert_frame_equal(through_server.epochs, direct.epochs)
    assert (through_server.plans, through_server.definition) == (direct.plans, direct.definition)
    assert list(through_server.params.values()) == list(direct.params.values())
    assert (through_server.notes, direct.notes) == ((), ())
    for mine, theirs in ((images, load_images(other, direct)), (curves, load_threshold_curves(other, direct))):
        pd.testing.assert_frame_equal(mine[0], theirs[0])
        assert (mine[1], theirs[1]) == ([], [])
    assert sheet is not None
    assert sheet == load_sheet(other, direct, "small", 2, "worst")
    # Numbers that can differ do: of loss and learning rate, whatever Dice so short a training reaches.
    assert direct.runs["train/loss"].nunique() == 4


@pytest.fixture(scope="module")
def reported(http):
    """The files of the report that the command writes over HTTP."""
    folder, address = http
    said = finish(start(["-m", "analysis.report", "--output", "command"], folder, address))
    assert said.strip() == "command/index.html"
    return content(folder / "command")


@pytest.mark.parametrize("name", OTHERS)
def test_every_store_gives_the_same_report_byte_for_byte(reported, name, request, monkeypatch):
    assert {"index.html", "report.md", "methods.tex", "tables/claims.tex"} <= set(reported)
    written = write_report(request.getfixturevalue(name), monkeypatch)
    assert written.keys() == reported.keys()
    assert [file for file in reported if written[file] != reported[file]] == []


@pytest.mark.faults
def test_the_report_that_a_call_leaves_in_mlflow_is_that_of_the_command(http, reported, tmp_path):
    folder, address = http
    said = finish(start([str(ROOT / "runner.py"), "rates.yaml"], folder, address))
    assert "The report is in MLflow: run `report` of experiment rates." in said
    client = MlflowClient(address)
    [run] = client.search_runs([client.get_experiment_by_name("rates").experiment_id], "tags.summary = 'true'")
    client.download_artifacts(run.info.run_id, "", str(tmp_path))
    assert content(tmp_path) == reported


def test_a_servers_database_without_the_server_tells_numbers_but_no_files(http, server, monkeypatch):
    _, through_server = load(http, monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.database.uri("mlflow"))
    client = make_client()
    direct = load_results(client, "rates")
    pd.testing.assert_frame_equal(through_server.runs, direct.runs)
    pd.testing.assert_frame_equal(through_server.epochs, direct.epochs)
    [row] = list_experiments(client)
    assert (row.name, row.num_runs) == ("rates", 4)
    images, [note] = load_images(client, direct)
    assert images.empty
    assert "test_per_image.parquet is missing for 4 of 4 finished runs" in note
    assert server.database.password not in note


@pytest.mark.parametrize("name", ["http", pytest.param("postgresql", marks=pytest.mark.faults)])
def test_trained_networks_come_from_the_store(name, request, tmp_path, monkeypatch):
    store = request.getfixturevalue(name)
    runs = load(store, monkeypatch)[1].runs.set_index(["arm", "seed"])
    output = tmp_path / "evaluation"
    done = CliRunner().invoke(evaluate.app, ["--run", "rates/large, seed 1", "--output", str(output)])
    assert done.exit_code == 0, done.output
    again = json.loads((output / "metrics.json").read_text())["metrics"]
    for metric in ("test/dice_per_image", "test_at_0.4/dice_batch"):
        assert again[metric] == pytest.approx(runs[metric]["large", 1], abs=1e-12)
    picture = str(next(output.rglob("*.png")))
    masks = tmp_path / "masks"
    done = CliRunner().invoke(predict.app, ["--run", "rates/small, seed 2", picture, "--output", str(masks)])
    assert done.exit_code == 0, done.output
    assert list(masks.rglob("*.png"))
