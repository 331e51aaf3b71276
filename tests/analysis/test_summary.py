import sys

import matplotlib.image
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from analysis import summary
from analysis.figures import look, summary_figure
from analysis.results import ResultsError, load_epochs, load_runs, make_client

EPOCHS = ["arm", "seed", "epoch", "metric", "value"]
DICE = {("fast", 1): 0.80, ("fast", 2): 0.84, ("slow", 1): 0.70, ("slow", 2): None}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """An experiment with an older plan and a newer one: two arms, two seeds, of which one run failed."""
    folder = tmp_path_factory.mktemp("analysis")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("rates")
    add_run(client, experiment, "old arm", 1, 0.1, plan="old", start=1_000)
    add_run(client, experiment, "fast", 1, 0.2, plan="new", start=2_000)  # an earlier attempt
    for start, ((arm, seed), dice) in enumerate(DICE.items(), start=3_000):
        add_run(client, experiment, arm, seed, dice, plan="new", start=start)
    return folder


def add_run(client, experiment, arm, seed, dice, *, plan, start):
    tags = {"arm": arm, "seed": str(seed), "plan": plan, "state": "finished" if dice else "failed"}
    run = client.create_run(experiment, start, tags).info.run_id
    metrics = [Metric("train/loss", 1 / epoch, start + epoch, epoch) for epoch in (1, 2, 3)]
    metrics += [Metric("val/dice_per_image", 0.2 * epoch, start + epoch, epoch) for epoch in (1, 2, 3)]
    if dice:
        final = {"test/dice_per_image": dice, "test/dice_dataset": dice, "threshold": 0.45, "train_seconds": 60.0}
        final |= {"test_at_0.4/dice_batch": dice, "epochs_to_90": 2.0}
        metrics += [Metric(name, value, start + 9, 0) for name, value in final.items()]
    client.log_batch(run, metrics)
    client.set_terminated(run, "FINISHED" if dice else "FAILED")


@pytest.fixture
def client(database, monkeypatch):
    monkeypatch.chdir(database)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return make_client()


def test_only_the_newest_plan_and_the_newest_attempt_count(client):
    runs = load_runs(client, "rates")
    found = {(run.arm, run.seed): run for run in runs.itertuples()}
    assert set(found) == set(DICE)
    values = runs.set_index(["arm", "seed"])["test/dice_per_image"]
    assert values["fast", 1] == 0.80
    assert values.isna()["slow", 2]
    assert found["slow", 2].state == "failed"


def test_epochs_are_tidy(client):
    epochs = load_epochs(client, load_runs(client, "rates"), ["train/loss"])
    assert len(epochs) == 4 * 3
    chosen = epochs[(epochs["arm"] == "fast") & (epochs["seed"] == 2)]
    assert list(chosen["epoch"]) == [1, 2, 3]
    assert list(chosen["value"]) == pytest.approx([1, 1 / 2, 1 / 3])


def test_what_is_not_there_is_said(client, tmp_path, monkeypatch):
    with pytest.raises(ResultsError, match="experiment absent has no runs"):
        load_runs(client, "absent")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResultsError, match=r"no mlflow\.db"):
        make_client()


def test_the_command_writes_a_figure_and_a_table(client, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["summary", "rates", "--output", str(tmp_path)])
    assert summary.main() == 0
    fast, slow = (line for line in (tmp_path / "rates.md").read_text().splitlines() if line[2:6] in ("fast", "slow"))
    assert "0.8200 ± 0.0283" in fast
    assert fast.endswith("| 0.8000 | 0.8400 |")
    assert slow.endswith("| 0.7000 | missing |")
    assert matplotlib.image.imread(tmp_path / "rates.png").shape[:2] == (540, 1650)


def test_the_command_says_what_to_run_first(client, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["summary", "absent"])
    assert summary.main() == 2
    assert "runner.py" in capsys.readouterr().err


@pytest.fixture
def unfinished(tmp_path, monkeypatch):
    """An experiment in which one run finished and was then begun again, and another without any final metric."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("again")
    add_run(client, experiment, "fast", 1, 0.8, plan="new", start=1_000)
    add_run(client, experiment, "fast", 1, None, plan="new", start=2_000)
    add_run(client, client.create_experiment("none"), "fast", 1, None, plan="new", start=1_000)
    return make_client()


def test_a_finished_attempt_stands_before_a_newer_unfinished_one(unfinished):
    [row] = load_runs(unfinished, "again").to_dict("records")
    assert (row["state"], row["test/dice_per_image"]) == ("finished", 0.8)


def test_metrics_that_no_run_has_are_missing(unfinished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["summary", "none", "--output", str(tmp_path / "out")])
    assert summary.main() == 0
    last = (tmp_path / "out" / "none.md").read_text().splitlines()[-1]
    assert last.split(" | ")[1:] == ["missing"] * 6 + ["missing |"]
    runs = load_runs(unfinished, "none")
    figure = summary_figure(runs, load_epochs(unfinished, runs, ["train/loss"]), "none")
    assert [text.get_text() for text in figure.axes[2].texts] == ["missing"]
    assert "(1 seed: " in figure.get_suptitle()


def test_no_arm_is_dropped():
    arms = [f"arm {number}" for number in range(36)]
    epochs = pd.DataFrame([(arm, 1, 1, "train/loss", 0.5) for arm in arms], columns=EPOCHS)
    runs = pd.DataFrame({"arm": arms, "seed": 1, "test/dice_per_image": 0.5})
    figure = summary_figure(runs, epochs, "many")
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == arms
    assert len({look(position) for position in range(36)}) == 36
    assert look(36) == look(0)


def test_what_cannot_be_read_or_written_is_one_line(client, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "argv", ["summary", "rates", "--output", str(tmp_path / "file" / "out")])
    assert summary.main() == 2
    assert "cannot be written: Not a directory" in capsys.readouterr().err
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert summary.main() == 2
    error = capsys.readouterr().err
    assert error.startswith("MLflow cannot be read: ") and error.count("\n") == 1
