import sys

import matplotlib.image
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from analysis import summary
from analysis.results import ResultsError, load_epochs, load_runs, make_client

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
