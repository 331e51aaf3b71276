"""The same results through a real MLflow server on loopback."""

import shutil

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from analysis.results import (
    ResultsError,
    histories,
    list_experiments,
    load_images,
    load_results,
    load_sheet,
    make_client,
)
from tests.analysis.conftest import EXPERIMENTS
from tests.fabricate import fabricate_ablation
from tests.mlflow_server import serve


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_database):
    """A server's address and folder; it holds `loss-demo`, with a run that diverged, and hands artifacts through."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    try:
        with serve(folder) as address, pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", address)
            states = {("BCE", 43): ("diverged", "the loss is nan in epoch 3")}
            source = EXPERIMENTS / "loss.yaml"
            fabricate_ablation(folder, source, preset="demo", seeds=[42, 43], states=states, epochs=4, num_images=8)
            yield address, folder
    except PermissionError as error:
        pytest.skip(f"no port can be bound here: {error}")


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server[0])
    return make_client()


def requests_of(monkeypatch):
    """A list that grows with the parameters of each request for histories."""
    asked, http_request = [], histories.http_request

    def note(host, path, method, params):
        asked.append(params)
        return http_request(host, path, method, params=params)

    monkeypatch.setattr(histories, "http_request", note)
    return asked


def test_a_server_tells_what_its_database_holds(server, client):
    through_server = load_results(client, "loss-demo")
    direct = load_results(MlflowClient(f"sqlite:///{server[1]}/mlflow.db"), "loss-demo")
    pd.testing.assert_frame_equal(through_server.runs, direct.runs)
    pd.testing.assert_frame_equal(through_server.epochs, direct.epochs)
    assert (through_server.plans, through_server.params) == (direct.plans, direct.params)
    assert list(through_server.runs["state"]) == ["finished", "finished", "finished", "diverged"]
    assert len(through_server.epochs) == 2 * (3 * 4 + 2)


def test_experiments_are_listed(client):
    [row] = list_experiments(client)
    assert (row.name, row.num_runs) == ("loss-demo", 4)


def test_artifacts_come_through_the_server(client):
    results = load_results(client, "loss-demo")
    assert results.runs["artifact_uri"][0].startswith("mlflow-artifacts:/")
    images, notes = load_images(client, results)
    assert (len(images), notes) == (3 * 8, [])
    assert load_sheet(client, results, "BCE", 42, "best").startswith(b"\x89PNG")
    assert load_sheet(client, results, "BCE", 42, "nicest") is None


def test_artifacts_that_are_gone_are_said(server, client):
    results = load_results(client, "loss-demo")
    place = server[1] / "artifacts" / results.runs["artifact_uri"][2].removeprefix("mlflow-artifacts:/")
    table = place / "threshold_curve.parquet"
    kept = table.read_bytes()
    table.unlink()
    try:
        from analysis.results import load_threshold_curves

        curves, [note] = load_threshold_curves(client, results)
    finally:
        table.write_bytes(kept)
    assert curves.groupby(["arm", "seed"]).ngroups == 2
    assert "threshold_curve.parquet is missing for 1 of 3 finished runs (BCE, seed 42)" in note


def test_histories_take_few_requests(client, monkeypatch):
    asked = requests_of(monkeypatch)
    load_results(client, "loss-demo")
    assert sorted(params["metric_key"] for params in asked) == ["train/loss", "val/dice_per_image"]
    assert {len(params["run_id"]) for params in asked} == {4}


def test_answers_that_a_server_cuts_are_asked_for_in_parts(client, monkeypatch):
    whole = load_results(client, "loss-demo").epochs
    asked = requests_of(monkeypatch)
    monkeypatch.setattr(histories, "MAX_POINTS", 6)
    ids = load_results(client, "loss-demo").runs["run_id"].tolist()
    del asked[:]
    # Four runs of four, four, four and two points, of which it wrongly believes that they have one each.
    points = histories.load_histories(client, ids, "train/loss", 1)
    assert len(points) == len(whole[whole["metric"] == "train/loss"])
    assert sorted(len(params["run_id"]) for params in asked) == [1, 1, 1, 1, 2, 2, 4]
    # Not even a single run's points fit into an answer.
    monkeypatch.setattr(histories, "MAX_POINTS", 3)
    assert histories.load_histories(client, ids, "train/loss", 1).equals(points)


def test_a_server_without_that_request_is_asked_run_by_run(client, monkeypatch):
    fast = load_results(client, "loss-demo").epochs
    monkeypatch.setattr(histories, "SERVER_PATH", "/ajax-api/2.0/mlflow/metrics/not-there")
    assert load_results(client, "loss-demo").epochs.equals(fast)


def test_what_is_no_number_stays_so_through_the_server(client):
    number = client.create_experiment("numbers")
    run = client.create_run(number).info.run_id
    client.log_batch(run, [Metric("train/loss", value, 5, epoch) for epoch, value in enumerate((0.5, float("nan")))])
    values = histories.load_histories(client, [run], "train/loss", 2)["value"]
    client.delete_experiment(number)
    assert values.isna().tolist() == [False, True]


def test_what_is_not_there_is_said(client):
    with pytest.raises(ResultsError, match="MLflow has no experiment los; there are loss-demo"):
        load_results(client, "los")
