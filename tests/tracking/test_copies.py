"""One training that belongs to several ablations, or to several arms."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from segcore import tracking
from segcore.tracking.delivery import deliver


def only_run(client: MlflowClient, experiment: str) -> Any:
    [run] = client.search_runs([experiment])
    return run


def test_a_finished_run_stands_in_another_experiment_as_a_copy(
    make_folder: Callable[[str], Any], model_folder: Path, client: MlflowClient, experiment: str
) -> None:
    folder = make_folder("f1")
    folder.epoch(1)
    folder.sample(0)
    shutil.copytree(model_folder, folder.path / "model")
    folder.finish()
    other = client.create_experiment("best")
    assert deliver(folder.delivery(experiment), client)
    assert deliver(folder.delivery(other, arm="adamw"), client)
    assert deliver(folder.delivery(other, arm="adamw"), client)
    origin, copy = only_run(client, experiment), only_run(client, other)
    assert (copy.data.tags["reused_from"], copy.data.tags["arm"]) == (origin.info.run_id, "adamw")
    assert (copy.info.run_name, copy.info.status) == ("adamw, seed 42", "FINISHED")
    assert origin.info.run_id in copy.data.tags["mlflow.note.content"]
    assert (copy.data.params, copy.data.metrics) == (origin.data.params, origin.data.metrics)
    [metric] = client.get_metric_history(copy.info.run_id, "train/loss")
    assert metric.timestamp == 1_700_000_010_000
    assert copy.outputs.model_outputs[0].model_id == origin.outputs.model_outputs[0].model_id
    assert {file.path for file in client.list_artifacts(copy.info.run_id)} == {"config.yaml", "sheets", "log.txt"}
    assert [input.dataset.name for input in copy.inputs.dataset_inputs] == ["pets"]


def test_two_arms_of_one_experiment_may_be_one_training(
    make_folder: Callable[[str], Any], client: MlflowClient, experiment: str
) -> None:
    folder = make_folder("f1")
    folder.epoch(1)
    first, second = folder.delivery(experiment, arm="a"), folder.delivery(experiment, arm="b")
    assert not deliver(first, client)
    assert not deliver(second, client)
    folder.finish()
    # The copy comes first, and completes the run that it refers to.
    assert deliver(second, client)
    runs = {run.data.tags["arm"]: run for run in client.search_runs([experiment])}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["b"].data.tags["reused_from"] == runs["a"].info.run_id
    assert "best.safetensors" in {file.path for file in client.list_artifacts(runs["a"].info.run_id)}
    assert deliver(first, client)


def test_weights_of_a_copy_are_those_of_its_origin(
    make_folder: Callable[[str], Any], client: MlflowClient, experiment: str
) -> None:
    folder = make_folder("f1")
    folder.epoch(1)
    folder.finish()
    for arm in ("a", "b"):
        deliver(folder.delivery(experiment, arm=arm), client)
    assert tracking.open_run("b, seed 42").read_bytes() == b"weights of f1"


def test_a_run_whose_origin_was_deleted_is_delivered_whole(
    make_folder: Callable[[str], Any], model_folder: Path, client: MlflowClient, experiment: str
) -> None:
    folder = make_folder("f1")
    folder.epoch(1)
    shutil.copytree(model_folder, folder.path / "model")
    folder.finish()
    deliver(folder.delivery(experiment), client)
    deleted = only_run(client, experiment)
    client.delete_run(deleted.info.run_id)
    assert deliver(folder.delivery(experiment), client)
    run = only_run(client, experiment)
    assert "reused_from" not in run.data.tags
    assert run.outputs.model_outputs[0].model_id == deleted.outputs.model_outputs[0].model_id
    assert "best.safetensors" in {file.path for file in client.list_artifacts(run.info.run_id)}


def test_a_copy_says_what_the_training_was_asked_for_with(
    make_folder: Callable[[str], Any], client: MlflowClient, experiment: str
) -> None:
    folder = make_folder("f1")
    request = {"preset": "demo", "overrides": "trainer.epochs=3 'data.root=my data'", "hypotheses": "ab" * 8}
    run = {"fingerprint": "f1", "attempt": "1", "created": 1_700_000_000.0}
    folder.write("run.json", run | {"request": request})
    folder.finish()
    other = client.create_experiment("best")
    for place in (experiment, other):
        assert deliver(folder.delivery(place), client)
        assert request.items() <= only_run(client, place).data.tags.items()
    old = make_folder("f2")  # of a version that kept none of it
    old.finish()
    third = client.create_experiment("third")
    deliver(old.delivery(third), client)
    assert not request.keys() & only_run(client, third).data.tags.keys()
