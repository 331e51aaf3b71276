import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from segcore import tracking
from segcore.tracking.delivery import deliver
from segcore.tracking.records import MAX_SKIPPED_LISTED

MakeFolder = Callable[[str], Any]


def runs_of(client: MlflowClient, experiment: str) -> list[Any]:
    return list(client.search_runs([experiment]))


def steps(client: MlflowClient, run: Any, key: str) -> list[int]:
    return [metric.step for metric in client.get_metric_history(run.info.run_id, key)]


def finished(make_folder: MakeFolder, model_folder: Path | None = None, name: str = "f1") -> Any:
    folder = make_folder(name)
    for epoch in (1, 2, 3):
        folder.epoch(epoch)
    folder.sample(0)
    if model_folder:
        shutil.copytree(model_folder, folder.path / "model")
    folder.finish()
    return folder


def test_all_of_a_finished_run_lands(
    make_folder: MakeFolder, model_folder: Path, client: MlflowClient, experiment: str, capfd: Any
) -> None:
    folder = finished(make_folder, model_folder)
    assert deliver(folder.delivery(experiment), client)
    [run] = runs_of(client, experiment)
    assert (run.info.run_name, run.info.status) == ("lr 1e-3, seed 42", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (1_700_000_000_000, 1_700_000_060_000)
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"config.yaml", "sheets", "log.txt", "best.safetensors"}
    assert capfd.readouterr() == ("", "")


def test_settings_become_params_and_circumstances_become_tags(
    make_folder: MakeFolder, client: MlflowClient, experiment: str
) -> None:
    deliver(finished(make_folder).delivery(experiment), client)
    [run] = runs_of(client, experiment)
    assert run.data.params == {
        "data.name": "pets",
        "data.root": "data/pets",
        "data.image_size": "8",
        "data.batch_size": "2",
        "data.test_fraction": "null",
        "evaluation.report_thresholds": "[0.4, 0.5]",
        "optimizer.name": "adamw",
        "optimizer.lr": "0.001",
        "seed": "42",
    }
    expected = {
        "arm": "lr 1e-3",
        "seed": "42",
        "factor": "optimizer.lr",
        "fingerprint": "f1",
        "plan": "plan1",
        "state": "finished",
        "git_commit": "0123abc",
        "git_dirty": "false",
        "device": "cpu",
        "threads": "2",
        "torch": "2.15.0",
        "mlflow.source.git.commit": "0123abc",
        "mlflow.source.name": "runner.py",
    }
    assert expected.items() <= run.data.tags.items()
    says = "finished after 3 epochs, with a Dice of 0.8000 per test image at threshold 0.43."
    assert run.data.tags["mlflow.note.content"] == f"lr 1e-3, seed 42 {says}"
    assert not {"reason", "reused_from"} & run.data.tags.keys()


def test_metrics_keep_their_steps_and_times(make_folder: MakeFolder, client: MlflowClient, experiment: str) -> None:
    deliver(finished(make_folder).delivery(experiment), client)
    [run] = runs_of(client, experiment)
    assert run.data.metrics["test_at_0.4/dice_batch"] == 0.81
    assert run.data.metrics["system/cpu_utilization_percentage"] == 90.0
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(metric.step, metric.value, metric.timestamp) for metric in history] == [
        (1, 1.0, 1_700_000_010_000),
        (2, 0.5, 1_700_000_020_000),
        (3, 1 / 3, 1_700_000_030_000),
    ]


def test_dataset_input_names_sizes_and_skipped_files(
    make_folder: MakeFolder, client: MlflowClient, experiment: str
) -> None:
    folder = finished(make_folder)
    data = json.loads((folder.path / "data.json").read_text())
    data["skipped"] = [{"name": f"cat_{index}", "reason": "truncated"} for index in range(MAX_SKIPPED_LISTED + 7)]
    folder.write("data.json", data)
    deliver(folder.delivery(experiment), client)
    [dataset_input] = runs_of(client, experiment)[0].inputs.dataset_inputs
    dataset, profile = dataset_input.dataset, json.loads(dataset_input.dataset.profile)
    assert (dataset.name, dataset.digest, json.loads(dataset.source)) == ("pets", "ab" * 6, {"uri": "data/pets"})
    assert (profile["train"], profile["validation"], profile["test"]) == (4, 2, 3)
    assert (profile["skipped"], profile["skipped_files_not_listed"]) == (MAX_SKIPPED_LISTED + 7, 7)
    assert profile["skipped_files"][0] == "cat_0: truncated"
    assert '"shape": [-1, 8, 8, 3]' in json.loads(dataset.schema)["mlflow_tensorspec"]["features"]


def test_model_moves_to_mlflow_with_the_results(
    make_folder: MakeFolder, model_folder: Path, client: MlflowClient, experiment: str
) -> None:
    folder = finished(make_folder, model_folder)
    deliver(folder.delivery(experiment), client)
    [run] = runs_of(client, experiment)
    [output] = run.outputs.model_outputs
    model: Any = client.get_logged_model(output.model_id)
    assert (model.name, model.status, model.source_run_id) == ("lr 1e-3, seed 42", "READY", run.info.run_id)
    assert {metric.key: metric.value for metric in model.metrics}["test/dice_per_image"] == 0.8
    assert model.params["optimizer.lr"] == "0.001"
    assert not (folder.path / "model").exists()
    assert (folder.path / "best.safetensors").exists()


def test_a_model_that_may_not_be_whole_waits_for_the_end_of_its_run(
    make_folder: MakeFolder, model_folder: Path, client: MlflowClient, experiment: str
) -> None:
    folder = finished(make_folder, model_folder)
    state = json.loads((folder.path / "state.json").read_text())
    folder.write("state.json", state | {"state": "lost", "reason": "killed while its model was written"})
    deliver(folder.delivery(experiment), client)
    [run] = runs_of(client, experiment)
    assert run.outputs is None or not run.outputs.model_outputs
    assert (folder.path / "model").exists()
    folder.write("state.json", state)
    deliver(folder.delivery(experiment), client)
    [run] = runs_of(client, experiment)
    assert len(run.outputs.model_outputs) == 1


def test_a_dataset_that_another_has_just_noted_is_found(
    make_folder: MakeFolder, client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    note, failures = client.log_inputs, list[MlflowException]()

    def fail_first(*arguments: Any, **options: Any) -> None:
        if not failures:
            failures.append(MlflowException("UNIQUE constraint failed: datasets.experiment_id, datasets.name"))
            raise failures[0]
        note(*arguments, **options)

    monkeypatch.setattr(client, "log_inputs", fail_first)
    assert deliver(finished(make_folder).delivery(experiment), client)
    [run] = runs_of(client, experiment)
    assert len(run.inputs.dataset_inputs) == 1


def test_nothing_is_said_twice(make_folder: MakeFolder, client: MlflowClient, experiment: str) -> None:
    folder = make_folder("f1")
    folder.epoch(1)
    folder.epoch(2)
    assert not deliver(folder.delivery(experiment), client)
    assert not deliver(folder.delivery(experiment), client)
    [run] = runs_of(client, experiment)
    assert (run.info.status, steps(client, run, "train/loss")) == ("RUNNING", [1, 2])
    assert run.data.tags["mlflow.note.content"] == "lr 1e-3, seed 42 is being trained."
    folder.epoch(3)
    folder.finish()
    assert deliver(folder.delivery(experiment), client)
    assert deliver(folder.delivery(experiment), client)
    [run] = runs_of(client, experiment)
    assert (run.info.status, steps(client, run, "train/loss")) == ("FINISHED", [1, 2, 3])
    assert steps(client, run, "test/dice_per_image") == [0]


def test_torn_lines_wait_and_epochs_computed_again_are_not_logged_again(
    make_folder: MakeFolder, client: MlflowClient, experiment: str
) -> None:
    folder = make_folder("f1")
    folder.epoch(1)
    with (folder.path / "epochs.jsonl").open("a") as file:
        file.write('{"epoch": 2, "time": 1700000020.0, "metr')
    deliver(folder.delivery(experiment), client)
    [run] = runs_of(client, experiment)
    assert steps(client, run, "train/loss") == [1]
    with (folder.path / "epochs.jsonl").open("a") as file:
        file.write("\n")
    folder.epoch(1, **{"train/loss": 7.0})
    folder.epoch(2)
    deliver(folder.delivery(experiment), client)
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5)]


def test_a_delivery_that_broke_off_is_completed(
    make_folder: MakeFolder, model_folder: Path, client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished(make_folder, model_folder)
    for step in ("log_model_artifacts", "log_outputs", "set_terminated"):
        with monkeypatch.context() as patch:
            patch.setattr(client, step, _away)
            with pytest.raises(ConnectionError):
                deliver(folder.delivery(experiment), client)
    assert deliver(folder.delivery(experiment), client)
    [run] = runs_of(client, experiment)
    assert len(client.search_logged_models([experiment])) == len(run.outputs.model_outputs) == 1
    assert (run.info.status, steps(client, run, "test/dice_per_image")) == ("FINISHED", [0])
    assert (len(run.inputs.dataset_inputs), steps(client, run, "train/loss")) == (1, [1, 2, 3])


def _away(*_: Any) -> None:
    raise ConnectionError("server is away")


@pytest.mark.parametrize(
    ("state", "status", "says"),
    [
        ("failed", "FAILED", "failed after 1 epoch: RuntimeError: out of memory"),
        ("diverged", "FAILED", "diverged after 1 epoch: RuntimeError: out of memory"),
        ("interrupted", "KILLED", "was interrupted after 1 epoch: RuntimeError: out of memory"),
        ("lost", "KILLED", "was lost after 1 epoch: RuntimeError: out of memory"),
    ],
)
def test_a_run_that_broke_off_says_why(
    state: str, status: str, says: str, make_folder: MakeFolder, client: MlflowClient, experiment: str
) -> None:
    folder = make_folder("f1")
    folder.epoch(1, **{"train/loss": math.nan})
    (folder.path / "log.txt").write_text("Traceback\n")
    folder.state(state, reason="RuntimeError: out of memory", ended=1_700_000_020.0)
    assert deliver(folder.delivery(experiment), client)
    [run] = runs_of(client, experiment)
    assert (run.info.status, run.data.tags["state"]) == (status, state)
    assert run.data.tags["reason"] == "RuntimeError: out of memory"
    tail = "" if state == "interrupted" else "Traceback"
    shown = f"\n\nThe end of its log:\n\n    {tail}\n" if tail else ""
    assert run.data.tags["mlflow.note.content"] == f"lr 1e-3, seed 42 {says}{shown}"
    assert run.data.tags.get("log_tail", "") == tail
    assert math.isnan(run.data.metrics["train/loss"])
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["log.txt"]


def test_a_run_that_the_machine_cannot_do_is_shown_with_its_reason(
    make_folder: MakeFolder, client: MlflowClient, experiment: str
) -> None:
    folder = make_folder("f1")
    for name in ("environment.json", "data.json"):
        (folder.path / name).unlink()
    folder.state("missing", reason="float16 needs CUDA")
    assert deliver(folder.delivery(experiment, arm="float16"), client)
    [run] = runs_of(client, experiment)
    assert (run.info.status, run.data.tags["reason"]) == ("KILLED", "float16 needs CUDA")
    assert run.data.params["optimizer.lr"] == "0.001"


def test_an_interrupted_run_goes_on_as_the_same_run(
    make_folder: MakeFolder, client: MlflowClient, experiment: str
) -> None:
    folder = make_folder("f1")
    folder.epoch(1)
    folder.state("interrupted", reason="Ctrl-C", ended=1_700_000_015.0)
    assert deliver(folder.delivery(experiment), client)
    folder.state("running")
    folder.epoch(2)
    assert not deliver(folder.delivery(experiment), client)
    [run] = runs_of(client, experiment)
    assert (run.info.status, run.data.tags["reason"], steps(client, run, "train/loss")) == ("RUNNING", "", [1, 2])


def test_more_metrics_than_one_request_takes(make_folder: MakeFolder, client: MlflowClient, experiment: str) -> None:
    folder = make_folder("f1")
    for epoch in range(1, 301):
        folder.epoch(epoch, **{f"metric_{index}": float(index) for index in range(6)})
    deliver(folder.delivery(experiment), client)
    [run] = runs_of(client, experiment)
    assert steps(client, run, "train/loss") == steps(client, run, "metric_5") == list(range(1, 301))


def test_a_folder_without_a_run_yet_is_nothing(project: Path, client: MlflowClient, experiment: str) -> None:
    info = tracking.ExperimentInfo("lr_sweep", "", "{}")
    delivery = tracking.Delivery(project / "runs" / "new", info, "a", 42, "optimizer", "new", "plan1")
    assert not deliver(delivery, client)
    assert runs_of(client, experiment) == []
