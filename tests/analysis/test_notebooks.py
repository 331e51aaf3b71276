"""Both notebooks run from top to bottom: on results of every ablation, on some, and on none."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from analysis.numbers import setting

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ("report_figures", "ablation")
# What the notebooks' imports of the kernel itself warn about is not ours.
pytestmark = pytest.mark.filterwarnings("default")


def run(name, folder, database, monkeypatch, replace=None):
    """Executes a notebook in a folder against a database; its cells."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.read(ROOT / "analysis" / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        for old, new in (replace or {}).items():
            cell.source = cell.source.replace(old, new)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    return client.execute().cells


def said(cells):
    """All text that the cells put out."""
    texts = []
    for cell in cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            texts += [output.get("text", ""), data.get("text/markdown", ""), data.get("text/plain", "")]
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(texts))  # without colours of a terminal


def pictures(cells):
    """The names of the figures that were shown, from their captions."""
    return re.findall(r"^\*((?:fig\d*_)?\w+)\. ", said(cells), flags=re.MULTILINE)


def test_every_figure_of_the_report_is_shown(results_project, monkeypatch):
    cells = run("report_figures", ROOT / "analysis", results_project / "mlflow.db", monkeypatch)
    shown = {int(number) for name in pictures(cells) if (number := "".join(re.findall(r"^fig(\d\d)_", name)))}
    assert shown == {*range(1, 20)}
    text = said(cells)
    assert "--dry-run" in text  # figure 20, the command line
    assert "python runner.py experiments/augmentation.yaml" in text  # the one that was never run
    assert text.count("**supported**") + text.count("**inconclusive**") + text.count("**reversed**") > 10
    assert "correlation" in text


@pytest.mark.parametrize(
    ("name", "curves", "arm", "text"),
    [
        ("lr_sweep", {"lr_sweep_loss", "lr_sweep_dice"}, "lr 1e-4", "diverged"),
        ("loss", {"fig14_loss_loss", "fig15_loss_dice"}, "BCE", "finished"),
    ],
)
def test_an_ablation_is_explored_down_to_single_images(results_project, monkeypatch, name, curves, arm, text):
    cells = run("ablation", ROOT, results_project / "mlflow.db", monkeypatch, {'"lr_sweep"': f'"{name}"'})
    assert {*curves, f"{name}_differences", f"{name}_per_image"} <= set(pictures(cells))
    assert text in said(cells)
    assert "There is no figure" not in said(cells)
    one_image = next(cell for cell in cells if cell.source.startswith("one_image"))
    assert arm in one_image.outputs[0].data["text/plain"]
    sheets = next(cell for cell in cells if cell.source.startswith("show_sheet"))
    assert sum("image/png" in output.get("data", {}) for output in sheets.outputs) == 2


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_without_results_a_notebook_says_what_to_run_and_goes_on(name, empty_database, monkeypatch):
    cells = run(name, ROOT / "analysis", empty_database, monkeypatch)
    text = said(cells)
    assert "Run first: `python runner.py experiments/lr_sweep.yaml --preset demo`" in text
    assert not pictures(cells)
    assert not any(output.output_type == "error" for cell in cells for output in cell.get("outputs", ()))


def test_an_ablation_that_nobody_knows_is_said(results_project, monkeypatch):
    cells = run("ablation", ROOT, results_project / "mlflow.db", monkeypatch, {'"lr_sweep"': '"lr_swep"'})
    assert "lr_swep" in said(cells)
    assert not pictures(cells)


def test_the_rates_that_schedules_end_at_are_as_computed():
    text = (ROOT / "analysis" / "report_figures.ipynb").read_text()
    fast, slow = setting(float(f"{0.95**300:.0e}")), f"{0.999**300:.2f}"
    assert f"Over 300 epochs 0.95 ends at {fast} of the first rate and 0.999 at {slow} of it" in text


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_stored_without_outputs(name):
    notebook = nbformat.read(ROOT / "analysis" / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook.cells)
