"""Whole calls of `runner.py`, each in a process of its own, on a few synthetic pictures of 32 x 32."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow.pytorch
import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient

from segcore.build import load_model

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "data": {"format": "synthetic", "synthetic_images": 20, "image_size": 32, "batch_size": 4},
    "optimizer.lr": 1e-3,
    "trainer.epochs": 2,
    "execution": {"threads": 1, "device": "cpu"},
}
RATES = {"large": {"optimizer.lr": 1e-3}, "small": {"optimizer.lr": 1e-4}, "absurd": {"optimizer.lr": 1e30}}
CLAIMS = [
    {"claim": f"{better} wins", "better": better, "than": than, "metric": "test/dice_per_image", "margin": 0.01}
    for better, than in (("large", "small"), ("large", "absurd"))
]
ABLATIONS = {
    "rates": {"factor": "optimizer.lr", "arms": RATES, "hypotheses": CLAIMS},
    "precision": {
        "factor": "trainer.precision",
        "arms": {"float32": {"trainer.precision": "float32"}, "float16": {"trainer.precision": "float16"}},
    },
    "threshold": {
        "factor": "evaluation.threshold",
        "arms": {"chosen": {"evaluation.threshold": "validation"}, "fixed": {"evaluation.threshold": 0.4}},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder to work in, with three ablation files."""
    path = tmp_path_factory.mktemp("project")
    for name, content in ABLATIONS.items():
        # Not `auto`, which is bfloat16 where a processor has it.
        settings = SETTINGS if name == "precision" else SETTINGS | {"trainer.precision": "float32"}
        whole = {"name": name, "title": name.title(), "question": "Which?", "settings": settings, "seeds": [1]}
        (path / f"{name}.yaml").write_text(yaml.safe_dump(whole | content, sort_keys=False))
    return path


def environment(folder):
    return os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "COLUMNS": "200"}


def call(folder, *arguments, report=False):
    """The finished process of a call in the folder, by default without the report, which takes long."""
    arguments = [*arguments, *([] if report else ["--no-report"])]
    return subprocess.run(
        [sys.executable, str(ROOT / "runner.py"), *arguments],
        cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=500,
    )  # fmt: skip


def state_of(path):
    return json.loads((path / "state.json").read_text())


def by_rate(folder):
    """The run folders of the learning rates."""
    paths = {}
    for settings in folder.glob("runs/*/settings.yaml"):
        content = yaml.safe_load(settings.read_text())
        if content["evaluation"]["threshold"] == "validation" and content["trainer"]["precision"] == "float32":
            paths[content["optimizer"]["lr"]] = settings.parent
    return paths


@pytest.fixture(scope="module")
def first_call(folder):
    """Three arms, one of which diverges; with its report."""
    return call(folder, "rates.yaml", "trainer.epochs=2", report=True)


@pytest.fixture(scope="module")
def client(folder, first_call):
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def runs_of(client, experiment):
    """The runs of an experiment by arm, newest first."""
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id], "tags.arm LIKE '%'")
    return {run.data.tags["arm"]: run for run in reversed(found)}


def test_a_run_that_diverges_ends_alone_and_the_call_says_so(folder, first_call):
    assert first_call.returncode == 1, first_call.stdout + first_call.stderr
    paths = by_rate(folder)
    assert {rate: state_of(path)["state"] for rate, path in paths.items()} == {
        1e-3: "finished",
        1e-4: "finished",
        1e30: "diverged",
    }
    assert "training loss is" in state_of(paths[1e30])["reason"]
    for part in ("large", "small", "absurd", "1 diverged: training loss is", "2 finished, 1 diverged"):
        assert part in first_call.stdout


def test_the_closing_table_has_a_verdict_on_each_claim(first_call):
    said = re.sub(r"\s+", " ", first_call.stdout)
    for part in (
        "Verdicts 1 inconclusive",
        "(1 seed): inconclusive, because one seed does not show the spread",
        "2 inconclusive large against absurd",
        "Note on 2: absurd, seed 1: diverged",
    ):
        assert part in said


def test_the_report_stands_in_mlflow_beside_the_runs(folder, client, first_call):
    assert "The report is in MLflow: run `report` of experiment rates" in re.sub(r"\s+", " ", first_call.stdout)
    experiment = client.get_experiment_by_name("rates").experiment_id
    (run,) = client.search_runs([experiment], "tags.summary = 'true'")
    assert (run.info.run_name, run.info.status, run.data.metrics) == ("report", "FINISHED", {})
    assert run.data.tags["mlflow.note.content"].count("inconclusive") == 2
    assert "index.html" in {item.path for item in client.list_artifacts(run.info.run_id)}


def test_a_run_is_tagged_with_what_it_was_asked_for_with(client, first_call):
    tags = runs_of(client, "rates")["large"].data.tags
    assert (tags["overrides"], "preset" in tags, len(tags["hypotheses"])) == ("trainer.epochs=2", False, 16)


def test_the_plan_is_shown_without_training(folder, first_call):
    before = sorted((folder / "runs").iterdir())
    shown = call(folder, "rates.yaml", "--dry-run", "--seeds", "1,2", report=True)
    assert shown.returncode == 0, shown.stderr
    assert sorted((folder / "runs").iterdir()) == before
    said = re.sub(r"\s+", " ", shown.stdout)
    for part in (
        "3 of 6 runs",
        "from 2 finished runs like these here",
        "1 diverged, which only --rerun trains again",
        "9 training, 3 validation, 8 test images; none unreadable",
        "What 2 seeds can show",
        "Spread: assumed for hypotheses 1, 2",
        "Nothing was trained",
    ):
        assert part in said


def test_the_runs_folder_holds_what_the_design_names(folder, first_call):
    path = by_rate(folder)[1e-3]
    assert {file.name for file in path.iterdir()} >= {
        "run.json", "settings.yaml", "environment.json", "data.json", "state.json", "epochs.jsonl", "system.jsonl",
        "results.json", "best.safetensors", "artifacts", "log.txt", "lock",
    }  # fmt: skip
    lines = [json.loads(line) for line in (path / "epochs.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    log = (path / "log.txt").read_text()
    assert "epoch 2 of 2: train/loss" in log
    assert "'train': 9, 'validation': 3, 'test': 8" in log
    table = pd.read_parquet(path / "artifacts" / "test_per_image.parquet")
    results = json.loads((path / "results.json").read_text())["metrics"]
    assert len(table) == 8
    assert results["test/dice_per_image"] == pytest.approx(table["dice"].mean())
    curve = pd.read_parquet(path / "artifacts" / "threshold_curve.parquet")
    best = curve.loc[curve["dice_per_image"] == curve["dice_per_image"].max(), "threshold"]
    assert results["threshold"] in set(best.round(2))


def test_everything_is_in_mlflow(folder, client):
    runs = runs_of(client, "rates")
    assert {arm: run.info.status for arm, run in runs.items()} == {
        "large": "FINISHED", "small": "FINISHED", "absurd": "FAILED",
    }  # fmt: skip
    run = runs["large"]
    assert run.info.run_name == "large, seed 1"
    assert run.data.params["optimizer.lr"] == "0.001"
    assert run.data.params["trainer.precision"] == "float32"
    assert {"fingerprint", "plan", "factor", "seed", "state", "device", "threads", "torch"} <= set(run.data.tags)
    history = client.get_metric_history(run.info.run_id, "val/dice_per_image")
    assert [metric.step for metric in history] == [1, 2]
    assert {"test/dice_per_image", "test_at_0.4/dice_batch", "threshold", "gflops", "parameters"} <= set(
        run.data.metrics
    )
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    expected = {"config.yaml", "test_per_image.parquet", "threshold_curve.parquet", "curves.png", "sheets"}
    assert expected | {"best.safetensors", "requirements.txt"} <= artifacts
    assert run.inputs.dataset_inputs
    description = client.get_experiment_by_name("rates").tags
    assert "Which?" in description["mlflow.note.content"]
    assert json.loads(description["ablation"])["arms"] == {arm: dict(values) for arm, values in RATES.items()}


def test_the_logged_model_is_the_best_checkpoint(folder, client):
    run = runs_of(client, "rates")["large"]
    (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    loaded = mlflow.pytorch.load_model(model.artifact_location)
    checkpoint, _, metadata = load_model(by_rate(folder)[1e-3] / "best.safetensors", torch.device("cpu"))
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), checkpoint(images), rtol=1e-4, atol=1e-4)
    assert metadata["threshold"] == run.data.metrics["threshold"]


def test_a_second_call_trains_nothing(folder, first_call):
    before = {path: state_of(path) for path in by_rate(folder).values()}
    again = call(folder, "rates.yaml", "--only", "large", "--only", "small")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 diverged" in again.stdout  # the arm that was not asked for, as it stands
    assert "nothing to train" in again.stdout
    assert {path: state_of(path) for path in by_rate(folder).values()} == before


def test_the_same_run_in_another_ablation_is_a_copy_and_an_impossible_arm_is_missing(folder, client):
    done = call(folder, "precision.yaml")
    assert done.returncode == 1
    assert "nothing to train" in done.stdout
    assert "float16 needs a CUDA device" in done.stdout
    runs, origin = runs_of(client, "precision"), runs_of(client, "rates")["large"]
    assert runs["float32"].data.tags["reused_from"] == origin.info.run_id
    assert runs["float32"].data.metrics["test/dice_per_image"] == origin.data.metrics["test/dice_per_image"]
    assert runs["float16"].data.tags["state"] == "missing"
    assert "CUDA" in runs["float16"].data.tags["reason"]


def test_arms_that_differ_in_the_evaluation_take_the_training_over(folder, client):
    done = call(folder, "threshold.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    origin, fixed = runs_of(client, "rates")["large"], runs_of(client, "threshold")["fixed"]
    log = (folder / "runs" / fixed.data.tags["fingerprint"] / "log.txt").read_text()
    assert "the training is that of" in log
    assert fixed.data.metrics["threshold"] == 0.4
    assert fixed.data.metrics["train/loss"] == origin.data.metrics["train/loss"]
    for metric in ("dice_per_image", "iou_dataset"):
        assert fixed.data.metrics[f"test/{metric}"] == origin.data.metrics[f"test_at_0.4/{metric}"]


def test_training_again_gives_the_same_numbers_to_the_last_bit(folder, client):
    path = by_rate(folder)[1e-3]
    timed = {"images_per_second", "epoch_seconds", "train_seconds", "peak_memory_gib"}

    def numbers():
        lines = [json.loads(line)["metrics"] for line in (path / "epochs.jsonl").read_text().splitlines()]
        lines.append(json.loads((path / "results.json").read_text())["metrics"])
        return [{name: value for name, value in line.items() if name not in timed} for line in lines]

    before, attempt = numbers(), json.loads((path / "run.json").read_text())["attempt"]
    again = call(folder, "rates.yaml", "--only", "large", "--rerun")
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads((path / "run.json").read_text())["attempt"] != attempt
    assert numbers() == before
    assert "the training is that of" not in (path / "log.txt").read_text()
    assert (folder / "runs" / "replaced" / f"{path.name}-{attempt}" / "best.safetensors").is_file()


def test_an_interrupted_call_ends_its_workers_and_says_how_to_go_on(folder, first_call):
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "runner.py"), "rates.yaml", "trainer.epochs=5000", "--only", "large"],
        cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell's background jobs ignore Ctrl-C, and so would all that these tests start from one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (found := long_runs(folder)):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "to go on from what is saved: MLFLOW_TRACKING_URI=sqlite:///" in errors
    (path,) = found
    state = state_of(path)
    assert state["state"] == "interrupted"
    assert not Path(f"/proc/{state['pid']}").exists()


def long_runs(folder):
    """The folders of the run of 5000 epochs once it has finished one."""
    return [
        path.parent
        for path in folder.glob("runs/*/epochs.jsonl")
        if yaml.safe_load((path.parent / "settings.yaml").read_text())["trainer"]["epochs"] == 5000
    ]
