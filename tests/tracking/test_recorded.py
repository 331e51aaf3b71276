"""Reading a run back: what was delivered comes out again; through a server: `tests/test_runner_reproduce.py`."""

import math
import shutil

import pytest
import yaml

from segcore import tracking
from segcore.config import flatten
from segcore.errors import UserError
from segcore.execution.comparison import difference
from segcore.tracking.recorded import settings_of
from segcore.tracking.records import as_text
from tests.run_folders import DATA, RESULTS, SETTINGS


def fill(run):
    """A run of two epochs that ends."""
    run.epoch(1)
    run.epoch(2, **{"val/loss": 0.1 + 0.2, "grad/norm": math.inf})
    run.sample(0)
    run.finish()
    (run.path / "artifacts" / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    (run.path / "artifacts" / "requirements.txt").write_text("torch==2.15.0\n")
    return run


def check(recorded):
    assert recorded.settings == flatten(SETTINGS)
    assert recorded.epochs[2]["val/loss"] == 0.1 + 0.2 and recorded.epochs[1]["train/loss"] == 1.0
    assert difference(recorded.epochs[2]["grad/norm"], math.inf) == 0
    assert sorted(recorded.epochs) == [1, 2] and not any("system/" in key for key in recorded.epochs[1])
    assert recorded.results == RESULTS
    assert recorded.data["fingerprint"] == DATA["fingerprint"] and recorded.data["sizes"] == DATA["sizes"]
    assert recorded.data["skipped"] == 1 and recorded.data["skipped_files"] == ["cat_7: truncated"]
    assert recorded.packages == "torch==2.15.0\n" and recorded.diff is None
    assert (recorded.state, recorded.reason, recorded.tags["torch"]) == ("finished", None, "2.15.0")
    assert recorded.weights.read_bytes().startswith(b"weights of ")


def test_what_was_delivered_comes_out_again(experiment, client, make_folder, tmp_path):
    run = fill(make_folder("abc1"))
    assert tracking.deliver(run.delivery(experiment), client)
    shutil.rmtree(run.path)  # MLflow alone
    recorded = tracking.read_recorded("lr 1e-3, seed 42", tmp_path / "there")
    check(recorded)
    assert recorded.experiment == "lr_sweep"
    assert tracking.read_recorded(recorded.run_id[:8], tmp_path / "again").run_id == recorded.run_id


def test_a_copy_leads_to_its_origin(experiment, client, make_folder, tmp_path):
    run = fill(make_folder("abc1"))
    other = client.create_experiment("other")
    for name in (experiment, other):
        assert tracking.deliver(run.delivery(name), client)
    copy = tracking.read_recorded("other/lr 1e-3, seed 42", tmp_path / "there")
    assert copy.experiment == "lr_sweep"


def test_settings_come_from_params_where_there_is_no_file():
    settings = {
        "data.root": "123",
        "data.image_size": 64,
        "optimizer.lr": 1e-3,
        "trainer.clip_norm": None,
        "trainer.compile": "auto",
        "evaluation.threshold": 0.5,
        "data.download": False,
        "seed": 42,
    }
    assert settings_of({key: as_text(value) for key, value in settings.items()}) == settings


def test_what_is_no_training_of_the_suite_is_refused(experiment, client, project, tmp_path):
    foreign = client.create_run(experiment, run_name="foreign")
    with pytest.raises(UserError, match=rf"run foreign \({foreign.info.run_id}\) in .* is no training of this suite"):
        tracking.read_recorded("foreign", tmp_path)


def test_without_a_database_the_request_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match=r"--reproduce lost: there is no mlflow\.db in this folder"):
        tracking.read_recorded("lost", tmp_path)
