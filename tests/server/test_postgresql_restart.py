"""PostgreSQL goes away and comes back while several runners deliver: nothing is lost, nothing is doubled."""

import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.models import Model

from segcore import tracking
from tests.run_folders import RESULTS, RunFolder

RUNNERS, RUNS, EPOCHS = 3, 3, 12


class Runner(threading.Thread):
    """Plays a runner: its runs write an epoch now and then, and its feeder delivers them meanwhile."""

    def __init__(self, place: Path, experiment: tracking.ExperimentInfo, address: str, number: int) -> None:
        super().__init__(name=f"runner {number}")
        self.folders = [RunFolder(place / f"runner{number}run{run}") for run in range(RUNS)]
        self.number = number
        self.messages: list[str] = []
        self.feeder = tracking.Feeder(MlflowClient(address), interval_seconds=0.05)
        for seed, folder in enumerate(self.folders):
            self.feeder.watch(
                tracking.Delivery(folder.path, experiment, self.name, seed, "optimizer.lr", folder.path.name, "plan1")
            )

    def run(self) -> None:
        self.feeder.start()
        for epoch in range(1, EPOCHS + 1):
            for folder in self.folders:
                folder.epoch(epoch)
                folder.sample(epoch)
            time.sleep(0.25)
        for folder in self.folders:
            (folder.path / "model").mkdir()
            Model().save(str(folder.path / "model" / "MLmodel"))
            folder.finish()


def restart_while(runners, database, times, generator):
    """Stops the database so many times, both in good order and at once, at moments that the generator chooses."""
    for count in range(times):
        time.sleep(generator.uniform(0.1, 0.8))
        database.stop(at_once=count % 2 == 0)
        time.sleep(generator.uniform(0.0, 0.5))
        database.start()
    for runner in runners:
        runner.join(120)
        runner.messages = runner.feeder.close(timeout_seconds=120)


def check(client, name):
    """Every run once, every epoch of it once, and all that belongs to its end once."""
    experiment = client.get_experiment_by_name(name).experiment_id
    runs = client.search_runs([experiment])
    places = Counter((run.data.tags["arm"], run.data.tags["seed"]) for run in runs)
    assert places == {(f"runner {number}", str(seed)): 1 for number in range(RUNNERS) for seed in range(RUNS)}
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        for metric in ("train/loss", "val/dice_per_image", "system/cpu_utilization_percentage"):
            steps = [point.step for point in client.get_metric_history(run.info.run_id, metric)]
            assert sorted(steps) == list(range(1, EPOCHS + 1)), metric
        assert len(client.get_metric_history(run.info.run_id, "test/dice_per_image")) == 1
        assert {key: run.data.metrics[key] for key in RESULTS} == RESULTS
        assert run.data.params["optimizer.lr"] == "0.001"
        assert len(run.inputs.dataset_inputs) == 1
        assert {"config.yaml", "log.txt", "best.safetensors"} <= {
            item.path for item in client.list_artifacts(run.info.run_id)
        }
    models = client.search_logged_models([experiment])
    assert sorted(model.source_run_id for model in models) == sorted(run.info.run_id for run in runs)


def deliver_through_restarts(server, place, name, times, generator):
    experiment = tracking.ExperimentInfo(name, "Delivered while PostgreSQL restarts.", "{}")
    runners = [Runner(place, experiment, server.address, number) for number in range(RUNNERS)]
    for runner in runners:
        runner.start()
    restart_while(runners, server.database, times, generator)
    assert [runner.messages for runner in runners] == [[]] * RUNNERS
    check(MlflowClient(server.address), name)


def count_shutdowns(server):
    """How often the database was told to stop, as its log says."""
    said = server.database.log.read_text()
    return said.count("received immediate shutdown request") + said.count("received fast shutdown request")


def test_nothing_is_lost_or_doubled_while_postgresql_restarts(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    deliver_through_restarts(server, tmp_path, "restarts", 4, random.Random(0))
    said = server.database.log.read_text()
    assert said.count("received immediate shutdown request") >= 2
    assert said.count("received fast shutdown request") >= 2
    # Otherwise nothing was under way when the database went.
    answers = (server.folder / "server.log").read_text()
    assert '" 500 ' in answers or '" 503 ' in answers


@pytest.mark.faults
def test_fifty_restarts(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    before = count_shutdowns(server)
    for turn in range(10):
        deliver_through_restarts(server, tmp_path / str(turn), f"restarts{turn}", 5, random.Random(turn))
    assert count_shutdowns(server) - before == 50
