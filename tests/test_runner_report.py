"""The report that a call leaves in MLflow, with a stand-in for what takes long: making it."""

import io

import pytest
from rich.console import Console

import call
from segcore import tracking
from segcore.ablation import load_ablation
from segcore.execution import folder as folders
from segcore.execution.attempts import start_attempt
from segcore.execution.planning import describe_experiment
from segcore.plan import Facts, expand


@pytest.fixture
def report(write_ablation, tmp_path, monkeypatch):
    """A function that brings the small ablation's report up to date: what was made for it, and what was said."""
    analysis_report = pytest.importorskip("analysis.report")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    plan = expand(load_ablation(write_ablation()), lambda config: Facts("data", "float32"))
    tracking.prepare_store([describe_experiment(plan.ablation)])
    made = []

    def bring_up_to_date(error=None, state=None):
        def write(client, experiments, output, *, plan):
            if error:
                raise error
            made.append((experiments, plan))
            output.mkdir()
            (output / "index.html").write_text(f"report {len(made)}")
            return ["large against small: inconclusive"]

        monkeypatch.setattr(analysis_report, "write_report", write)
        if state:
            start_attempt(plan.runs[0], "float32").set_state(state)
        console = Console(file=io.StringIO(), width=200)
        call.report(plan, console)
        return list(made), console.file.getvalue()

    return bring_up_to_date


def test_the_report_is_made_where_something_is_new(report):
    made, said = report()
    (((experiment,), plan),) = made
    assert (experiment, len(plan)) == ("small", 16)
    assert said == "The report is in MLflow: run `report` of experiment small.\n"
    assert report() == (made, said)
    assert len(report(state="diverged")[0]) == 2
    assert len(report()[0]) == 2
    client = tracking.tracking_client()
    (run,) = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert run.data.tags["mlflow.note.content"].endswith("\n\n- large against small: inconclusive")


def test_a_report_that_fails_is_a_line(report):
    made, said = report(error=ValueError("MLflow cannot be read\nand more"))
    assert (made, said) == ([], "The report of small was not made: MLflow cannot be read\n")
    assert len(report()[0]) == 1  # the next call tries again
