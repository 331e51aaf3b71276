import shutil
import sqlite3
from contextlib import closing

import pytest

from analysis.results import files, load_images, load_results, load_sheet, load_threshold_curves, make_client
from tests.analysis.conftest import SEEDS, fabricate_small


def test_test_images_and_threshold_curves_are_read(results_client):
    results = load_results(results_client, "lr_sweep-demo")
    images, notes = load_images(results_client, results)
    assert notes == []
    assert list(images.columns) == ["arm", "seed", "name", "breed", "tp", "fp", "fn", "tn", "dice", "iou"]
    assert len(images) == 8 * 40
    means = images.groupby(["arm", "seed"])["dice"].mean()
    assert means["lr 1e-3", 42] == pytest.approx(0.9029, abs=1e-4)
    curves, notes = load_threshold_curves(results_client, results)
    assert notes == []
    assert len(curves) == 8 * 91
    assert curves.loc[curves["dice_per_image"].idxmax(), "threshold"] == 0.45


def test_unknown_breeds_are_missing(empty_project, write_ablation):
    client = fabricate_small(empty_project, write_ablation, breeds=False, seeds=[1])
    images, _ = load_images(client, load_results(client, "small"))
    assert images["breed"].isna().all()


def test_sheets_are_read(results_client):
    results = load_results(results_client, "lr_sweep-demo")
    assert load_sheet(results_client, results, "lr 1e-3", 42, "worst").startswith(b"\x89PNG")
    assert load_sheet(results_client, results, "lr 1e-3", 42, "nicest") is None
    assert load_sheet(results_client, results, "lr 3e-5", 43, "worst") is None


def place_of(results, arm, seed):
    runs = results.runs.set_index(["arm", "seed"])
    return runs.loc[(arm, seed), "artifact_uri"]


def test_files_that_are_gone_or_damaged_are_said_and_the_rest_is_read(project):
    client = make_client()
    results = load_results(client, "loss-demo")
    gone, damaged, other = (place_of(results, "BCE", seed) for seed in SEEDS)
    (project / gone / "test_per_image.parquet").unlink()
    (project / damaged / "test_per_image.parquet").write_bytes(b"PAR1 and then nothing")
    shutil.copy(f"{other}/threshold_curve.parquet", f"{other}/test_per_image.parquet")
    images, notes = load_images(client, results)
    assert images["arm"].unique().tolist() == ["BCE + Dice"]
    missing, broken = notes
    assert missing.startswith("In MLflow test_per_image.parquet is missing for 1 of 6 finished runs (BCE, seed 42): ")
    assert "it may still lie in runs/FINGERPRINT/artifacts/" in missing
    assert missing.endswith("--rerun` makes it anew.")
    assert broken.startswith("In MLflow test_per_image.parquet is damaged for 2 of 6 finished runs (BCE, seed 43; BCE,")


def test_a_store_that_is_away_is_asked_for_a_few_files_only(project, monkeypatch):
    client = make_client()
    with closing(sqlite3.connect("mlflow.db")) as connection, connection:
        connection.execute("UPDATE runs SET artifact_uri = 'http://127.0.0.1:9/' || run_uuid")
    results = load_results(client, "lr_sweep-demo")
    monkeypatch.setattr(files, "GROUP", 2)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    asked, read_file = [], files.read_file
    monkeypatch.setattr(files, "read_file", lambda *place: asked.append(place) or read_file(*place))
    images, [note] = load_images(client, results)
    assert images.empty
    assert images["dice"].dtype == "float64"
    assert "is missing for 8 of 8 finished runs (lr 1e-3, seed 42; " in note
    assert len(asked) == 2
