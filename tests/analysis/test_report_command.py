"""The command on results that are not as they should be: a sentence each, and the rest of the report all the same."""

import math
import shutil

import pytest
import yaml

from analysis import report
from analysis.reporting.render import html_environment
from analysis.results import make_client
from tests.conftest import DEFINITION
from tests.fabricate import STARTED, fabricate_ablation

ARMS = ("large", "small")
FAILED = ("failed", "out of memory")


def write(folder, name, **changes):
    """An ablation file like the small one, with another name."""
    path = folder / "experiments" / f"{name}.yaml"
    path.write_text(yaml.safe_dump(DEFINITION | {"name": name, "title": name} | changes, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory, empty_database):
    """A project in which every experiment but `whole` has something wrong with it."""
    folder = tmp_path_factory.mktemp("spoilt")
    shutil.copy(empty_database, folder / "mlflow.db")
    (folder / "experiments").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        make(folder, "whole")
        make(folder, "one_arm", changes={"arms": {"large": {"optimizer.lr": 1e-3}}, "hypotheses": []})
        make(folder, "one_seed", seeds=(1,))
        make(folder, "apart", states={("large", 2): ("not run", ""), ("small", 1): ("not run", "")})
        make(folder, "unfinished", states={(arm, seed): FAILED for arm in ARMS for seed in (1, 2)})
        make(folder, "two_plans", overrides=["trainer.clip_norm=2"])
        make(folder, "two_plans", started=STARTED + 1e6, overrides=["trainer.clip_norm=1"])
        client = make_client()
        make(folder, "not_a_number")
        run = runs_of(client, "not_a_number")[0]
        client.log_metric(run.info.run_id, "test/dice_per_image", math.nan)
        make(folder, "without_metric")
        change_definition(client, "without_metric", lambda old: old.replace("test/dice_per_image", "test/hausdorff"))
        make(folder, "without_files")
        for run in runs_of(client, "without_files"):
            shutil.rmtree(run.info.artifact_uri.removeprefix("file://"))
        make(folder, "changed")
        write(folder, "changed", question="Another?")
        make(folder, "damaged", seeds=(1,))
        change_definition(client, "damaged", lambda old: "no JSON")
        make(folder, "deleted", seeds=(1,))
        client.delete_experiment(client.get_experiment_by_name("deleted").experiment_id)
        write(folder, "never")
        (folder / "experiments" / "broken.yaml").write_text("name: [")
    return folder


def make(folder, name, changes=None, **options):
    fabricate_ablation(folder, write(folder, name, **(changes or {})), **({"epochs": 2, "num_images": 6} | options))


def runs_of(client, name):
    return client.search_runs([client.get_experiment_by_name(name).experiment_id])


def change_definition(client, name, change):
    experiment = client.get_experiment_by_name(name)
    client.set_experiment_tag(experiment.experiment_id, "ablation", change(experiment.tags["ablation"]))


@pytest.fixture
def here(spoilt, monkeypatch):
    """The spoilt project as the current folder; figures are drawn and not saved, which takes most of the time."""
    monkeypatch.chdir(spoilt)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(report, "save_pictures", lambda pictures, folder: ())
    return spoilt


@pytest.fixture(scope="module")
def pages():
    """Reports that were made already, by what was asked for."""
    return {}


@pytest.fixture
def page(here, tmp_path, pages):
    """A function that makes the report of some ablations and returns it as Markdown."""

    def make_page(*names):
        if names not in pages:
            assert report.main([*names, "--output", str(tmp_path / "out")]) == 0
            pages[names] = (tmp_path / "out" / "report.md").read_text()
        return pages[names]

    return make_page


def test_everything_that_can_be_shown_is_shown(page, capsys):
    text = page()
    for name in ("whole", "one_arm", "one_seed", "apart", "unfinished", "two_plans", "not_a_number", "without_metric"):
        assert f"\n## {name}\n" in text
    assert "Traceback" not in text + capsys.readouterr().err


@pytest.mark.parametrize(
    "sentence",
    [
        "There is only one arm, so nothing is compared.",
        "one seed does not show the spread",
        "the arms have no seed in common (large has seed 1, small has seed 2)",
        "large and small have no finished run",
        "Experiment two_plans also holds 4 runs of plan",
        "no run has test/hausdorff",
        "not a number",
        "test_per_image.parquet is missing for 4 of 4 finished runs",
        "since the runs, the file changed: question: 'Is a large rate better than a small one?' became 'Another?'",
        "what experiment damaged compares cannot be told",
        "experiments/broken.yaml",
        "`python runner.py experiments/never.yaml`",
    ],
)
def test_what_is_wrong_is_said(page, sentence):
    assert sentence in page().replace("\\", "")


def test_a_name_that_nothing_has_does_not_stop_the_rest(page):
    text = page("whole", "nonsense").replace("\\", "")
    assert "MLflow has no experiment nonsense" in text
    assert "\n## whole\n" in text


def test_nothing_to_show_is_one_message_and_status_2(here, tmp_path, capsys, monkeypatch):
    (here / "experiments" / "deleted.yaml").unlink(missing_ok=True)
    assert report.main(["deleted", "--output", str(tmp_path / "out")]) == 2
    assert "mlflow experiments restore" in capsys.readouterr().err
    assert report.main(["never", "--output", str(tmp_path / "out")]) == 2
    assert "`python runner.py experiments/never.yaml` makes some" in capsys.readouterr().err
    assert report.main(["whole", "--plan", "beef", "--output", str(tmp_path / "out")]) == 2
    assert "beef is none of the plans of experiment whole" in capsys.readouterr().err
    assert report.main(["--preset", "demo", "--output", str(tmp_path / "out")]) == 2
    assert "No experiment of preset demo has runs" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert report.main([]) == 2
    assert "there is no mlflow.db in this folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_one_message(here, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert report.main(["one_arm", "--output", str(tmp_path / "file")]) == 2
    assert "is a file; name a folder that is new or empty" in capsys.readouterr().err
    assert report.main(["one_arm", "--output", str(tmp_path / "file" / "out")]) == 2
    assert "cannot be written: " in capsys.readouterr().err


def test_figures_alone_leave_the_rest_of_the_report(here, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out"
    client = make_client()
    report.write_report(client, ["one_arm"], output)
    before = (output / "index.html").read_bytes()
    monkeypatch.setattr(report, "save_pictures", save_marker)
    report.write_report(client, ["one_arm"], output, figures_only=True)
    assert (output / "index.html").read_bytes() == before
    assert (output / "figures" / "marker.png").is_file()
    assert report.main(["one_arm", "--figures-only", "--output", str(tmp_path / "new")]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"figures", ".report-contents"}
    assert capsys.readouterr().out == f"{tmp_path / 'new' / 'figures'}\n"


def save_names(pictures, folder):
    (folder / "figures").mkdir(exist_ok=True)
    for picture in pictures:
        (folder / "figures" / f"{picture.name}.png").write_bytes(b"")
    return ()


def test_photographs_of_the_dataset_are_left_out_if_asked(here, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "save_pictures", save_names)
    output = tmp_path / "out"
    sheets = {"whole_worst.png", "whole_best.png"}
    assert report.main(["whole", "--output", str(output)]) == 0
    names = {path.name for path in (output / "figures").iterdir()}
    assert sheets <= names
    assert report.main(["whole", "--without-photos", "--output", str(output)]) == 0
    assert {path.name for path in (output / "figures").iterdir()} == names - sheets
    assert "whole_worst" not in (output / "report.md").read_text()


def test_two_presets_of_an_ablation_have_files_of_their_own(two_presets, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "save_pictures", save_names)
    output = tmp_path / "out"
    assert report.main(["pair-demo", "pair-pets64", "--output", str(output)]) == 0
    assert {path.name for path in (output / "tables").iterdir()} == (
        {"claims.tex", "pair-demo_results.tex", "pair-pets64_results.tex"}
    )
    names = {path.name for path in (output / "figures").iterdir()}
    assert {"pair-demo_test_dice.png", "pair-pets64_test_dice.png"} <= names
    text = (output / "report.md").read_text()
    assert "\n## pair (pair-demo)\n" in text and "\n## pair (pair-pets64)\n" in text
    assert "All runs share one test set" not in text
    assert "| 3.6 |" in text


@pytest.fixture
def two_presets(tmp_path, empty_database, monkeypatch):
    """A project that holds two experiments of one ablation, on different data."""
    folder = tmp_path / "two"
    (folder / "experiments").mkdir(parents=True)
    shutil.copy(empty_database, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for preset, data in (("demo", "da7a"), ("pets64", "beef")):
        make(folder, "pair", preset=preset, seeds=(1, 2), data_fingerprint=data * 3)
    return folder


def save_marker(pictures, folder):
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / "marker.png").write_bytes(b"")
    return ()


def test_the_plan_that_is_named_is_shown(here, tmp_path):
    client = make_client()
    tags = {run.data.tags["plan"]: run.data.params["trainer.clip_norm"] for run in runs_of(client, "two_plans")}
    for plan, clip_norm in tags.items():
        report.write_report(client, ["two_plans"], tmp_path / plan, plan=plan)
        assert f"norm of {int(float(clip_norm))}" in (tmp_path / plan / "methods.tex").read_text()


def test_a_template_that_asks_for_what_is_not_there_fails():
    with pytest.raises(Exception, match="is undefined"):
        html_environment().from_string("{{ absent }}").render()
