import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from segcore.errors import UserError
from segcore.tracking.address import shown_uri, tracking_uri
from segcore.tracking.store import ExperimentInfo, ensure_experiment, first_line, prepare_store
from segcore.tracking.view import CURVES, VIEW_TAG


def info(name: str, description: str = "", definition: str = "{}") -> ExperimentInfo:
    return ExperimentInfo(name, description, definition)


def test_default_is_the_one_of_a_bare_mlflow_ui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a folder, 100 %"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri() == mlflow.get_tracking_uri()


def test_the_environment_moves_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@tracking.example:5000")
    assert tracking_uri() == "http://user:secret@tracking.example:5000"
    assert shown_uri() == "http://tracking.example:5000"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "mlflow.db"), "mlflow.db: No space left on device"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("what a library said\nin two lines"), "what a library said"),
        (ValueError(), "ValueError"),
        (ValueError("user:secret@tracking.example:5000 is full\nby itself"), "tracking.example:5000 is full"),
    ],
)
def test_an_error_is_told_in_a_line_without_credentials(monkeypatch, error, line):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@tracking.example:5000")
    assert first_line(error) == line


def test_a_password_behind_the_question_mark_is_shown_nowhere(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://127.0.0.1:1/mlflow?user=bob&password=hunter2")
    assert shown_uri().startswith("postgresql+psycopg://127.0.0.1:1/mlflow?user=bob&password=[left out")
    with pytest.raises(UserError) as error:
        prepare_store()
    assert "hunter2" not in str(error.value) + shown_uri()


def test_a_description_that_was_noted_with_a_password_is_delivered_without(project: Path) -> None:
    client = MlflowClient(tracking_uri())
    number = ensure_experiment(info("kept", description="Does https://me:hunter2@host/data help?"), client)
    assert client.get_experiment(number).tags["mlflow.note.content"].startswith("Does https://host/data help?")


def test_an_existing_database_is_used_as_it_is(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ensure_experiment(info("kept"), MlflowClient(tracking_uri()))
    assert prepare_store() == []
    assert MlflowClient(tracking_uri()).get_experiment_by_name("kept") is not None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns"])
def test_a_file_store_is_refused(uri: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=r"no longer writes to plain folders.*mlflow\.db"):
        prepare_store()


def test_a_leftover_file_store_is_warned_about(project: Path) -> None:
    (project / "mlruns" / "1" / "run" / "artifacts").mkdir(parents=True)
    assert prepare_store() == []
    (project / "mlruns" / "0").mkdir()
    (project / "mlruns" / "0" / "meta.yaml").write_text("name: old\n")
    [warning] = prepare_store()
    assert "old file store (0)" in warning and "--backend-store-uri sqlite:///mlflow.db" in warning


def test_a_file_that_is_no_database_is_an_error(project: Path) -> None:
    (project / "mlflow.db").write_text("not a database, but long enough to be read as one" * 10)
    with pytest.raises(UserError, match="file is not a database"):
        prepare_store()


def test_a_server_that_is_away_is_a_warning_without_its_password(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    patience = os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
    start = time.monotonic()
    [warning] = prepare_store([info("lr_sweep")])
    assert time.monotonic() - start < 5
    assert warning.startswith("MLflow does not answer at http://127.0.0.1:9: ") and "secret" not in warning
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == patience


@pytest.mark.parametrize(("status", "is_refusal"), [(401, True), (503, False)])
def test_a_server_that_refuses_is_an_error_and_one_that_starts_is_not(
    status: int, is_refusal: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        if is_refusal:
            with pytest.raises(UserError, match="cannot be used"):
                prepare_store()
        else:
            assert len(prepare_store()) == 1
        server.shutdown()


def test_a_database_without_its_driver_is_an_error_that_says_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mysql://me:secret@127.0.0.1:1/runs")
    with pytest.raises(UserError, match="driver is missing: install it with pip") as raised:
        prepare_store()
    assert "secret" not in str(raised.value)


def test_the_experiments_are_made_with_the_store(project: Path, client: MlflowClient) -> None:
    assert prepare_store([info("first"), info("second")]) == []
    made = {experiment.name: experiment.tags.get("ablation") for experiment in client.search_experiments()}
    assert (made["first"], made["second"]) == ("{}", "{}")


def test_experiment_says_question_and_definition(project: Path, client: MlflowClient) -> None:
    first = ensure_experiment(info("lr_sweep", "Which rate?", '{"seeds": [1]}'), client)
    again = ensure_experiment(info("lr_sweep", "Which rate, once more?", '{"seeds": [42]}'), client)
    assert first == again
    tags = client.get_experiment(again).tags
    assert tags["mlflow.note.content"].startswith("Which rate, once more?\n")
    assert f"#/experiments/{again}/runs?viewStateShareKey=arms" in tags["mlflow.note.content"]
    assert json.loads(tags["ablation"]) == {"seeds": [42]}


def test_view_groups_by_arm_and_keeps_what_the_user_made_of_it(project: Path, client: MlflowClient) -> None:
    experiment = ensure_experiment(info("lr_sweep"), client)
    state = json.loads(json.loads(client.get_experiment(experiment).tags[VIEW_TAG])["state"])
    assert state["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "arm"}]
    assert [chart["metricKey"] for chart in state["compareRunCharts"]][: len(CURVES)] == list(CURVES)
    client.set_experiment_tag(experiment, VIEW_TAG, "the user's own")
    ensure_experiment(info("lr_sweep"), client)
    assert client.get_experiment(experiment).tags[VIEW_TAG] == "the user's own"


def test_view_of_an_older_version_is_brought_up_to_date(project: Path, client: MlflowClient) -> None:
    experiment = ensure_experiment(info("lr_sweep"), client)
    current = client.get_experiment(experiment).tags[VIEW_TAG]
    for updated, expected in ((5, current), (6, None)):
        view = json.dumps({"name": "Arms", "createdAt": 5, "updatedAt": updated, "state": "{}"})
        client.set_experiment_tag(experiment, VIEW_TAG, view)
        ensure_experiment(info("lr_sweep"), client)
        assert client.get_experiment(experiment).tags[VIEW_TAG] == (expected or view)


def test_definition_that_mlflow_cannot_hold_is_an_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = info("long", definition='"' + "x" * 20_000 + '"')
    for uri in ("http://127.0.0.1:9", tracking_uri()):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(UserError, match=r"takes 20,002 characters.*holds 20,000"):
            prepare_store([long])


def test_experiment_in_the_trash_is_an_error_that_says_how_to_go_on(project: Path, client: MlflowClient) -> None:
    experiment = ensure_experiment(info("gone"), client)
    client.delete_experiment(experiment)
    with pytest.raises(UserError, match=f"restore --experiment-id {experiment}.*mlflow gc"):
        prepare_store([info("gone")])
