"""What the notebooks call, on fabricated results of two presets."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest

from analysis import notebook
from analysis.notebook import compare_images, open_notebook
from analysis.verdicts import judge
from tests.analysis.conftest import EXPERIMENTS
from tests.fabricate import STARTED, fabricate_ablation

FAILED = {("BCE", 42): ("failed", "out of memory")}


@pytest.fixture(scope="module")
def two_presets(tmp_path_factory, empty_database):
    """A project with `loss` under the preset demo, and `lr_sweep` under pets64, which ran last."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copy(empty_database, folder / "mlflow.db")
    shutil.copytree(EXPERIMENTS, folder / "experiments")
    small = {"epochs": 2, "num_images": 6}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        source = folder / "experiments"
        fabricate_ablation(folder, source / "loss.yaml", preset="demo", seeds=(42, 43, 44), states=FAILED, **small)
        fabricate_ablation(
            folder, source / "lr_sweep.yaml", preset="pets64", seeds=(42,), started=STARTED + 1e6, **small
        )
    return folder


@pytest.fixture
def said(monkeypatch):
    """All that the notebook says."""
    paragraphs: list[str] = []
    monkeypatch.setattr(notebook, "say", lambda *texts: paragraphs.extend(texts))
    return paragraphs


@pytest.fixture
def opened(two_presets, said, monkeypatch):
    monkeypatch.chdir(two_presets)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return open_notebook()


def test_an_experiment_of_another_preset_is_shown(opened):
    assert opened.experiments == {"lr_sweep": "lr_sweep-pets64"}
    loss = opened.ablation("loss-demo")
    assert loss.missing == ""
    assert loss.material.results.experiment == "loss-demo"


def test_an_ablation_without_runs_of_this_preset_names_those_of_others(opened):
    assert opened.ablation("loss").missing == (
        "There are runs of other presets, which `loss-demo` would show. "
        "Run first: `python runner.py experiments/loss.yaml --preset pets64`"
    )
    assert opened.ablation("optimizer").missing == (
        "Run first: `python runner.py experiments/optimizer.yaml --preset pets64`"
    )


def test_a_name_that_nothing_has_is_answered_with_those_there_are(opened):
    missing = opened.ablation("los-demo").missing
    assert missing.startswith("Nothing has this name. `loss-demo` is near. There are `architecture`, ")
    assert "`lr_sweep-pets64`" in missing and "runner.py" not in missing


def test_a_metric_that_no_run_has_is_answered_with_those_there_are(opened, said):
    runs = opened.ablation("loss-demo").runs(metrics=("foo", "threshold"))
    assert list(runs) == ["arm", "seed", "state", "reason", "threshold"]
    assert said[-1].startswith("No run has `foo`; there are `test/dice_per_image`")


def test_images_are_compared_on_the_seeds_that_both_arms_have(opened, said):
    loss = opened.ablation("loss-demo")
    images = loss.material.images
    table = compare_images(loss)
    both = images[images["seed"] != 42].groupby(["name", "arm"])["dice"].mean().unstack()
    pd.testing.assert_series_equal(
        table["difference"].sort_index(), both["BCE + Dice"] - both["BCE"], check_names=False, check_exact=False
    )
    assert compare_images(loss, "BCE", "focal").empty
    assert said[-1] == "There are no images of both BCE and focal; the arms are BCE + Dice and BCE."
    apart = (images["arm"] == "BCE + Dice") & (images["seed"] != 42)
    without = notebook.Ablation("loss", opened.client, replace(loss.material, images=images[~apart]), "")
    assert compare_images(without).empty
    assert said[-1] == "BCE + Dice and BCE have no seed in common."


def test_a_problem_that_the_sentence_says_is_not_repeated(opened, said):
    sweep = opened.ablation("lr_sweep")
    sweep.material.results.runs.loc[:, "state"] = "failed"
    sweep = notebook.Ablation("lr_sweep", opened.client, judged_anew(sweep.material), "")
    sweep.claims()
    assert said[-1].count("no finished run") == 1


def judged_anew(material):
    """The material with the verdicts that its runs now give."""
    return replace(material, verdicts=tuple(judge(material.results.definition, material.results.runs)))
