"""What the notebooks call, on fabricated results of two presets."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest

from analysis import notebook
from analysis.notebook import compare_images, open_notebook
from analysis.results import make_client
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


@pytest.fixture
def shown(monkeypatch):
    """The names of the figures that the notebook shows."""
    names: list[str] = []
    monkeypatch.setattr(notebook, "show_picture", lambda picture: names.append(picture.name))
    return names


def test_curves_of_all_arms_are_the_reports_where_it_has_them(opened, said, shown):
    said.clear()
    opened.ablation("loss-demo").show("loss", "dice", "differences")
    opened.ablation("lr_sweep").show("loss", "fig06_lr_sweep_loss")
    assert shown == ["fig14_loss_loss", "fig15_loss_dice", "loss_differences", "lr_sweep_loss", "fig06_lr_sweep_loss"]
    assert said == []


def test_a_figure_that_is_left_out_has_its_own_reason(opened, said, shown):
    loss = opened.ablation("loss-demo")
    loss.drawn = dict.fromkeys(["loss_differences"])
    loss.left_out = [f"{name} is left out: {name[5:]}." for name in ("loss_worst", "fig14_loss_loss", "loss_best")]
    loss.show("best", "loss", "breeds", "fig14_loss_loss")
    assert said[-4:] == [
        "loss_best is left out: best.",
        "fig14_loss_loss is left out: _loss_loss.",
        "There is no figure `breeds` here.",
        "fig14_loss_loss is left out: _loss_loss.",
    ]
    assert shown == []


@pytest.fixture
def with_a_damaged_one(two_presets, tmp_path, said, monkeypatch):
    """A copy of the two presets, in which the newest experiment does not tell what it compares."""
    shutil.copytree(two_presets, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = make_client()
    client.set_experiment_tag(client.get_experiment_by_name("lr_sweep-pets64").experiment_id, "ablation", "no JSON")
    return open_notebook()


def test_a_damaged_experiment_is_said_and_the_others_are_shown(with_a_damaged_one, said):
    assert said[0] == "Shown: `loss-demo`."
    assert said[1].startswith("**`lr_sweep-pets64` is not shown:** what experiment lr_sweep-pets64 compares cannot be")
    assert with_a_damaged_one.preset == "demo"
    assert with_a_damaged_one.ablation("loss").missing == ""
    assert "its tag `ablation` is no JSON; `python runner.py" in with_a_damaged_one.ablation("lr_sweep").missing


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
