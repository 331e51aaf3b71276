import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from sqlalchemy import event

from analysis.results import (
    ResultsError,
    histories,
    hypotheses_frame,
    list_experiments,
    load_images,
    load_results,
    make_client,
)
from segcore import tracking
from tests.analysis.conftest import PLAIN, SEEDS, fabricate_small, make_plain


def test_an_ablation_is_a_row_for_each_arm_and_seed(results_client):
    results = load_results(results_client, "lr_sweep-demo")
    runs = results.runs
    assert list(zip(runs["arm"], runs["seed"], strict=True)) == [
        (arm, seed) for arm in ("lr 1e-3", "lr 1e-4", "lr 3e-5") for seed in SEEDS
    ]
    diverged = runs.set_index(["arm", "seed"]).loc["lr 3e-5", 43]
    assert (diverged["state"], diverged["reason"]) == ("diverged", "the loss is nan in epoch 7")
    assert runs["test/dice_per_image"].isna().sum() == 1
    # As fabricate.usual_quality has it for the first arm and seed 42.
    assert runs["test/dice_per_image"][0] == 0.9029
    assert (runs["num_test"][0], runs["num_skipped"][0], runs["preset"][0]) == (40, 1, "demo")
    assert results.plans == {results.plan: 9}
    assert results.notes == ()
    assert results.params[runs["run_id"][0]]["optimizer.lr"] == "0.001"


def test_epochs_of_unfinished_runs_are_there_too(results_client):
    epochs = load_results(results_client, "lr_sweep-demo").epochs
    number = epochs.groupby(["metric", "arm", "seed"], sort=False).size()
    assert list(number.index.unique("metric")) == ["train/loss", "val/dice_per_image"]
    assert number["train/loss", "lr 3e-5", 43] == 6
    assert number.drop(("train/loss", "lr 3e-5", 43)).drop(("val/dice_per_image", "lr 3e-5", 43)).eq(12).all()


def test_copies_are_whole_and_count_once(results_client):
    results = load_results(results_client, "optimizer-demo")
    copies = results.runs[results.runs["reused_from"] != ""]
    assert list(copies["arm"]) == ["AdamW"] * 3
    assert list(copies["attempts"]) == [1, 1, 1]
    images, notes = load_images(results_client, results)
    assert notes == []
    assert len(images[images["arm"] == "AdamW"]) == 3 * 40


def test_hypotheses_come_with_the_results(results_client):
    claims = hypotheses_frame(load_results(results_client, "architecture-demo"))
    assert claims[["number", "first", "second", "margin", "ratio"]].to_numpy().tolist() == [
        [1, "U-Net", "ResNet34-U-Net", 0.005, False],
        [2, "ResNet34-U-Net", "U-Net", 1.0, True],
    ]


def test_experiments_are_listed_with_their_runs(results_client):
    rows = {row.name: row for row in list_experiments(results_client)}
    assert len(rows) == 8
    row = rows["lr_sweep-demo"]
    assert (row.ablation, row.preset, row.title, row.num_runs) == ("lr_sweep", "demo", "Learning rate", 9)
    assert row.last_start > rows["architecture-demo"].last_start
    assert {row.problem for row in rows.values()} == {""}


def test_an_experiment_without_preset_or_runs_or_definition_is_listed(empty_project):
    client = make_client()
    for name, definition in (("plain", PLAIN), ("damaged", "{")):
        client.set_experiment_tag(client.create_experiment(name), "ablation", definition)
    client.create_experiment("of somebody else")
    rows = [(row.name, row.ablation, row.preset, row.last_start, row.num_runs) for row in list_experiments(client)]
    assert rows == [("damaged", "damaged", None, 0, 0), ("plain", "plain", None, 0, 0)]


def test_of_several_plans_the_newest_is_shown_and_the_others_are_named(empty_project, write_ablation):
    fabricate_small(empty_project, write_ablation, seeds=[1], quality=lambda arm, seed: 0.5)
    client = fabricate_small(
        empty_project, write_ablation, started=1_800_000_000.0, overrides=["data.image_size=32"], declared=[1, 2]
    )
    results = load_results(client, "small")
    newest, oldest = results.plans
    assert (results.plan, results.plans) == (newest, {newest: 4, oldest: 2})
    [note] = results.notes
    assert f"small also holds 2 runs of plan {oldest}" in note
    assert "they differ in data.image_size (256, not 32)." in note
    assert f"`--plan {oldest}` shows them" in note
    older = load_results(client, "small", oldest[:4])
    assert older.plan == oldest
    assert older.runs["test/dice_per_image"].dropna().tolist() == [0.5, 0.5]
    assert list(older.runs["state"]) == ["finished", "not run", "finished", "not run"]
    with pytest.raises(
        ResultsError, match=f"xyz is none of the plans of experiment small; there are: {newest}, {oldest}"
    ):
        load_results(client, "small", "xyz")


def test_runs_that_go_on_or_were_repeated_are_told_apart(empty_project, write_ablation):
    states = {("large", 1): ("running", ""), ("small", 2): ("not run", "")}
    fabricate_small(empty_project, write_ablation, states=states, epochs=4)
    client = fabricate_small(
        empty_project,
        write_ablation,
        seeds=[2],
        declared=[1, 2],
        epochs=4,
        started=1_800_000_000.0,
        states={("large", 2): ("interrupted", "stopped by a signal")},
    )
    results = load_results(client, "small")
    assert results.notes == (
        "large, seed 2: a newer attempt was interrupted (stopped by a signal); the finished one before it is shown.",
    )
    assert list(results.runs["state"]) == ["running", "finished", "finished", "finished"]
    assert list(results.runs["attempts"]) == [1, 2, 1, 1]
    running = results.epochs[results.epochs["seed"].eq(1) & results.epochs["arm"].eq("large")]
    assert running["epoch"].max() == 2


def test_runs_from_before_a_value_of_the_arm_was_changed_are_left_out(empty_project, write_ablation):
    arms = {"large": {"optimizer.lr": 1e-3}, "small": {"optimizer.lr": 1e-4}}
    fabricate_small(empty_project, lambda: write_ablation(factor="optimizer", arms=arms, hypotheses=None), reuse=True)
    arms["large"] = {"optimizer": {"lr": "1e-2"}}
    client = fabricate_small(
        empty_project,
        lambda: write_ablation(factor="optimizer", arms=arms, hypotheses=None),
        seeds=[1],
        declared=[1, 2],
        started=1_800_000_000.0,
        reuse=True,
    )
    results = load_results(client, "small")
    assert list(results.runs["state"]) == ["finished", "not run", "finished", "finished"]
    assert list(results.runs["stale"]) == [1, 1, 0, 0]
    rates = [results.params[run]["optimizer.lr"] for run in results.runs["run_id"].dropna()]
    assert rates == ["0.01", "0.0001", "0.0001"]
    assert not len(results.epochs[results.epochs["arm"].eq("large") & results.epochs["seed"].eq(2)])
    assert results.notes == (
        "large, seed 2, left out: made with optimizer.lr = 1e-3, the arm now has 0.01; run it again.",
    )
    images, _ = load_images(client, results)
    assert set(images.loc[images["arm"] == "large", "seed"]) == {1}


def test_a_report_that_lies_among_the_runs_is_no_run(project, tmp_path):
    before = load_results(make_client(), "loss-demo")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("report")
    tracking.deliver_summary("loss-demo", tmp_path / "report", ["A beats B."], "source")
    after = load_results(make_client(), "loss-demo")
    assert (after.plans, after.notes) == (before.plans, before.notes)
    assert after.runs["run_id"].tolist() == before.runs["run_id"].tolist()


@pytest.fixture
def forty_runs(empty_project):
    """An experiment of forty runs with three epochs each."""
    client = make_client()
    number = make_plain(client)
    for seed in range(40):
        tags = {"arm": "a", "seed": str(seed), "plan": "p", "state": "finished"}
        run = client.create_run(number, tags=tags).info.run_id
        client.log_batch(run, [Metric("train/loss", seed + epoch / 10, 5, epoch) for epoch in (1, 2, 3)])
        client.set_terminated(run)
    return client


def count_statements(client, work):
    """What `work` returns, and how many SQL statements it took."""
    statements = []

    def note(connection, cursor, statement, *others):
        statements.append(statement)

    engine = client._tracking_client.store.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        return work(), [statement for statement in statements if not statement.startswith("PRAGMA")]
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_many_runs_take_few_queries(forty_runs, monkeypatch):
    results, statements = count_statements(forty_runs, lambda: load_results(forty_runs, "plain"))
    assert len(results.epochs) == 40 * 3
    assert sum("FROM metrics" in statement for statement in statements) == 2
    assert len(statements) < 20
    monkeypatch.setattr(histories, "MAX_IDS", 15)
    again = load_results(forty_runs, "plain")
    assert again.epochs.equals(results.epochs)


def test_where_the_fast_ways_are_closed_the_public_one_serves(forty_runs, monkeypatch):
    fast = load_results(forty_runs, "plain")
    monkeypatch.setattr(histories, "from_database", None)
    assert load_results(forty_runs, "plain").epochs.equals(fast.epochs)


def test_pages_of_runs_are_put_together(forty_runs, monkeypatch):
    monkeypatch.setattr("analysis.results.tracked.PAGE", 7)
    assert len(load_results(MlflowClient(forty_runs.tracking_uri), "plain").runs) == 2 * 40


def test_a_damaged_definition_leaves_what_the_name_tells(empty_project, write_ablation):
    (empty_project / "experiments" / "presets").mkdir(parents=True)
    (empty_project / "experiments" / "presets" / "demo.yaml").touch()
    write_ablation("experiments/my rates.yaml", name="rates")
    client = make_client()
    for name in ("other-demo", "rates", "rates-demo", "rates-old"):
        client.set_experiment_tag(client.create_experiment(name), "ablation", "{")
    rows = list_experiments(client)
    assert [(row.name, row.ablation, row.preset) for row in rows] == [
        ("other-demo", "other-demo", None),
        ("rates", "rates", None),
        ("rates-demo", "rates", "demo"),
        ("rates-old", "rates-old", None),
    ]
    assert rows[2].problem.endswith(
        "its tag `ablation` is no JSON; `python runner.py 'experiments/my rates.yaml' --preset demo` writes it anew, "
        "and trains nothing that is finished"
    )
