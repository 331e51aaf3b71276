from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from segcore.errors import UserError
from segcore.tracking import deliver_summary, is_summary_of
from segcore.tracking.delivery import deliver
from segcore.tracking.runs import open_run
from segcore.tracking.view import SEARCH


@pytest.fixture
def report(tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    (folder / "figures").mkdir(parents=True)
    (folder / "index.html").write_text("first")
    (folder / "figures" / "old.png").write_bytes(b"old")
    return folder


def artifacts(client: MlflowClient, run_id: str) -> dict[str, str]:
    """Every artifact with its text."""
    root = Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_a_report_is_one_run_that_says_the_verdicts(client: MlflowClient, experiment: str, report: Path) -> None:
    run_id = deliver_summary("lr_sweep", report, ["A beats B.", "B equals C."], "source 1", client)
    run = client.get_run(run_id)
    assert (run.info.run_name, run.info.status, run.data.tags["summary"]) == ("report", "FINISHED", "true")
    assert run.data.tags["mlflow.note.content"].endswith("\n\n- A beats B.\n- B equals C.")
    assert "`index.html` under *Artifacts*" in run.data.tags["mlflow.note.content"]
    assert not {"arm", "seed", "plan"} & set(run.data.tags)
    assert (run.data.params, run.data.metrics) == ({}, {})
    assert artifacts(client, run_id) == {"index.html": "first", "figures/old.png": "old"}


def test_a_newer_report_takes_the_place_of_the_one_before(client: MlflowClient, experiment: str, report: Path) -> None:
    first = deliver_summary("lr_sweep", report, ["open"], "source 1", client)
    (report / "index.html").write_text("second")
    (report / "figures" / "old.png").unlink()
    (report / "figures" / "new.png").write_bytes(b"new")
    assert deliver_summary("lr_sweep", report, [], "source 2", client) == first
    assert artifacts(client, first) == {"index.html": "second", "figures/new.png": "new"}
    assert "declares no hypotheses" in client.get_run(first).data.tags["mlflow.note.content"]
    assert len(client.search_runs([experiment])) == 1


def test_of_reports_that_two_made_at_once_one_stays(
    client: MlflowClient, experiment: str, report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = deliver_summary("lr_sweep", report, [], "source 1", client)
    with monkeypatch.context() as patch:
        patch.setattr("segcore.tracking.summary._find", lambda *_: None)  # neither has seen the other's
        assert deliver_summary("lr_sweep", report, [], "source 1", client) == first
    [run] = client.search_runs([experiment])
    assert (run.info.run_id, is_summary_of("lr_sweep", "source 1", client)) == (first, True)


def test_a_whole_report_of_the_same_source_is_known(client: MlflowClient, experiment: str, report: Path) -> None:
    assert not is_summary_of("lr_sweep", "source 1", client)
    assert not is_summary_of("absent", "source 1", client)
    run_id = deliver_summary("lr_sweep", report, [], "source 1", client)
    assert is_summary_of("lr_sweep", "source 1", client)
    assert not is_summary_of("lr_sweep", "source 2", client)
    client.update_run(run_id, status="RUNNING")  # as a delivery that was cut short leaves it
    assert not is_summary_of("lr_sweep", "source 1", client)
    deliver_summary("lr_sweep", report, [], "source 1", client)
    client.delete_run(run_id)
    assert not is_summary_of("lr_sweep", "source 1", client)


def test_a_report_is_never_taken_for_a_training(
    client: MlflowClient, experiment: str, report: Path, make_folder: Callable[[str], Any]
) -> None:
    folder = make_folder("f1")
    folder.finish()
    deliver(folder.delivery(experiment), client)
    run_id = deliver_summary("lr_sweep", report, [], "source 1", client)
    for name in ("report", "lr_sweep/report", run_id):
        with pytest.raises(UserError, match="is an ablation's report, no training"):
            open_run(name)
    assert open_run("lr 1e-3, seed 42").read_bytes() == b"weights of f1"
    assert [run.data.tags["arm"] for run in client.search_runs([experiment], SEARCH)] == ["lr 1e-3"]
    assert deliver(folder.delivery(experiment), client)
    assert len(client.search_runs([experiment])) == 2
