"""Each thing that can be wrong is one sentence that tells what to do."""

import sqlite3
from contextlib import closing

import pytest
from mlflow.entities import Metric

from analysis.report import main
from analysis.results import ResultsError, list_experiments, load_results, make_client, reading
from tests.analysis.conftest import EXPERIMENTS, PLAIN, make_plain
from tests.fabricate import STARTED, fabricate_ablation


def test_what_is_not_there_is_said_with_the_command_that_makes_it(results_client, monkeypatch):
    with pytest.raises(ResultsError, match=r"no experiment lr_sweep; did you mean lr_sweep-demo\?"):
        load_results(results_client, "lr_sweep")
    with pytest.raises(ResultsError, match=r"did you mean scheduler-demo\?"):
        load_results(results_client, "schedular-demo")
    monkeypatch.chdir(EXPERIMENTS.parent)
    with pytest.raises(ResultsError, match=r"`python runner.py experiments/augmentation.yaml --preset demo` makes"):
        load_results(results_client, "augmentation-demo")
    with pytest.raises(ResultsError, match=r"`python runner.py experiments/augmentation.yaml` makes"):
        load_results(results_client, "augmentation")
    with pytest.raises(ResultsError, match=r"`python runner.py experiments/FILE.yaml` makes"):
        load_results(results_client, "demo")


def test_the_command_names_the_file_and_not_the_ablation(results_client, write_ablation, tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    write_ablation("experiments/my rates.yaml", name="rates")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResultsError, match=r"`python runner.py 'experiments/my rates.yaml'` makes"):
        load_results(results_client, "rates")


def test_an_experiment_in_the_trash_can_be_restored(project):
    client = make_client()
    number = client.get_experiment_by_name("loss-demo").experiment_id
    client.delete_experiment(number)
    restore = (
        rf"in MLflow's trash; `MLFLOW_TRACKING_URI=\S+ mlflow experiments restore --experiment-id {number}` brings"
    )
    with pytest.raises(ResultsError, match=restore):
        load_results(client, "loss-demo")
    rows = {row.name: row for row in list_experiments(client)}
    assert (rows["loss-demo"].is_deleted, rows["loss-demo"].num_runs, rows["loss-demo"].preset) == (True, 0, "demo")
    assert [name for name, row in rows.items() if row.is_deleted] == ["loss-demo"]


@pytest.mark.parametrize("asked", [["loss"], ["loss-demo"], ["loss", "--preset", "demo"]])
def test_a_report_of_what_lies_in_the_trash_tells_how_to_restore_it(project, asked, capsys, monkeypatch):
    (project / "experiments").symlink_to(EXPERIMENTS)
    client = make_client()
    client.delete_experiment(client.get_experiment_by_name("loss-demo").experiment_id)
    assert main(asked) == 2
    problem = capsys.readouterr().err
    assert "mlflow experiments restore --experiment-id" in problem
    assert "python runner.py" not in problem


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        (None, r"does not say what it compares \(its tag `ablation`\)"),
        ("{", "cannot be told: its tag `ablation` is no JSON"),
        ('{"name": "loss"}', "cannot be told: its tag `ablation` is not .* 'factor' is missing"),
    ],
)
def test_a_definition_that_is_lost_or_damaged_is_written_anew_by_the_runner(project, definition, problem):
    client = make_client()
    number = client.get_experiment_by_name("loss-demo").experiment_id
    if definition is None:
        client.delete_experiment_tag(number, "ablation")
    else:
        client.set_experiment_tag(number, "ablation", definition)
    with pytest.raises(ResultsError, match=f"{problem}.*writes it anew, and trains nothing that is finished"):
        load_results(client, "loss-demo")


@pytest.mark.parametrize("asked", [[], ["--preset", "demo"]])
def test_a_damaged_definition_does_not_stop_the_report_of_the_others(
    empty_project, write_ablation, asked, capsys, monkeypatch
):
    (empty_project / "experiments" / "presets").mkdir(parents=True)
    (empty_project / "experiments" / "presets" / "demo.yaml").touch()
    for name, started in (("whole", STARTED), ("spoilt", STARTED + 1e6)):
        source = write_ablation(f"experiments/{name}.yaml", name=name, title=name)
        fabricate_ablation(empty_project, source, preset="demo", seeds=[1], epochs=2, num_images=6, started=started)
    client = make_client()
    client.set_experiment_tag(client.get_experiment_by_name("spoilt-demo").experiment_id, "ablation", "no JSON")
    monkeypatch.setattr("analysis.report.save_pictures", lambda pictures, folder: ())
    assert main([*asked, "--output", "out"]) == 0
    text = (empty_project / "out" / "report.md").read_text().replace("\\", "")
    assert "\n## whole\n" in text
    assert "what experiment spoilt-demo compares cannot be told: its tag `ablation` is no JSON" in text
    assert text.count("`python runner.py experiments/spoilt.yaml --preset demo`") == 1
    assert "Not shown" not in text


def test_an_experiment_without_runs_says_how_to_make_some(empty_project):
    client = make_client()
    number = client.create_experiment("loss")
    client.set_experiment_tag(number, "ablation", PLAIN)
    client.create_run(number, tags={"summary": "true", "arm": "BCE", "seed": "1", "plan": "a"})
    with pytest.raises(ResultsError, match="experiment loss has no runs yet; `python runner"):
        load_results(client, "loss")


def test_nothing_to_read_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ResultsError, match=r"no mlflow\.db in this folder; go to the folder"):
        make_client()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    with pytest.raises(ResultsError, match=r"no database at MLFLOW_TRACKING_URI=sqlite:.*elsewhere\.db"):
        make_client()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_database_of_mlflow_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(
        ResultsError, match=r"^MLflow cannot be read at sqlite:///\S+mlflow\.db: [^\n]+ may it be read\?$"
    ):
        make_client()


def test_a_database_of_an_older_mlflow_comes_with_the_command_that_upgrades_it(empty_project):
    with closing(sqlite3.connect("mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(ResultsError, match="copy the database to a safe place, then run `mlflow db upgrade sqlite:"):
        make_client()


def test_a_server_that_is_away_is_said_at_once_and_without_its_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    with pytest.raises(
        ResultsError, match=r"cannot be read at http://127.0.0.1:9: Connection refused; does the server run"
    ) as raised:
        make_client()
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(ResultsError, match="cannot be read"), reading():
        raise ConnectionError("gone")


def test_an_address_that_is_none_is_said_without_it(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:hunter2@[bad")
    with pytest.raises(ResultsError, match="is no address that can be read") as raised:
        make_client()
    assert "hunter2" not in str(raised.value)


def test_a_database_that_is_away_is_asked_once(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://bob:hunter2@127.0.0.1:9/mlflow")
    asked = []
    monkeypatch.setattr("sqlalchemy.engine.default.DefaultDialect.connect", lambda *_, **__: asked.append(1) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_client()
    assert asked == [1]


@pytest.mark.parametrize(
    ("module", "package"),
    [("psycopg", "'psycopg[binary]'"), ("MySQLdb", "mysqlclient"), ("pyodbc", "pyodbc")],
)
def test_a_database_whose_driver_is_missing_is_said_with_what_to_install(module, package, monkeypatch):
    def fail(uri):
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@127.0.0.1:1/x")
    monkeypatch.setattr("analysis.results.client.ask_database", fail)
    with pytest.raises(ResultsError) as raised:
        make_client()
    assert str(raised.value) == (
        f"MLflow cannot be read at postgresql://127.0.0.1:1/x: the driver of that database is missing (No module named "
        f"'{module}'); `pip install {package}` installs it"
    )


def test_a_driver_that_cannot_be_loaded_is_said(monkeypatch):
    def fail(uri):
        raise ImportError("no pq wrapper available.\nAttempts made: several")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://127.0.0.1:1/x")
    monkeypatch.setattr("analysis.results.client.ask_database", fail)
    with pytest.raises(ResultsError, match=r"is missing \(no pq wrapper available\); install it for this Python$"):
        make_client()


def test_a_long_error_ends_with_a_word():
    with pytest.raises(ResultsError, match=r" word …; is MLFLOW_TRACKING_URI right") as raised, reading():
        raise OSError("word " * 1000)
    assert len(str(raised.value)) < 500


def test_the_beginning_of_several_plans_is_not_enough(empty_project):
    client = make_client()
    number = make_plain(client)
    for plan in ("aab1", "aab2", "aab"):
        client.create_run(number, tags={"arm": "a", "seed": "1", "plan": plan})
    with pytest.raises(ResultsError, match="aa is the beginning of several plans of experiment plain; there are: aab"):
        load_results(client, "plain", "aa")
    assert load_results(client, "plain", "aab").plan == "aab"


def test_metrics_that_are_no_numbers_are_missing_and_said(empty_project):
    client = make_client()
    number = make_plain(client)
    run = client.create_run(number, tags={"arm": "a", "seed": "1", "plan": "p", "state": "finished"}).info.run_id
    losses = [Metric("train/loss", value, 5, epoch) for epoch, value in enumerate((0.5, float("nan"), float("inf")))]
    client.log_batch(run, [*losses, Metric("test/dice_per_image", float("nan"), 6, 0)])
    client.set_terminated(run)
    results = load_results(client, "plain")
    assert results.runs["test/dice_per_image"].isna().all()
    losses = results.epochs[results.epochs["metric"] == "train/loss"]["value"]
    assert losses.isna().tolist() == [False, True, True]
    assert results.notes == (
        "test/dice_per_image is not a number in a, seed 1: taken as missing.",
        "train/loss is not a number in a, seed 1: taken as missing.",
        "train/loss is not a number in some epochs of a, seed 1: its curve has gaps there.",
    )
