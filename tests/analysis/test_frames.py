import math

import pandas as pd
import pytest

from analysis import frames
from analysis.attempts import TrackedRun
from analysis.definition import parse_definition

DEFINITION = parse_definition(
    {
        "name": "rates",
        "title": "Rates",
        "question": "Is fast better?",
        "factor": "optimizer.lr",
        "arms": {"slow": {"optimizer.lr": 1e-4}, "fast": {"optimizer.lr": 1e-3}},
        "seeds": [1, 2],
        "hypotheses": [
            {"claim": "fast wins", "better": "fast", "than": "slow", "metric": "test/dice_per_image", "margin": 0.01},
            {"claim": "as quick", "same": ["slow", "fast"], "metric": "train_seconds", "margin": 0.1, "ratio": True},
        ],
    },
    "test",
)


def run(
    arm="fast", seed=1, started=1000, *, state="finished", status="FINISHED", plan="a", dice=None, params=None, **more
):
    """A tracked run whose id tells when it was started."""
    tags = {"arm": arm, "seed": str(seed), "plan": plan, "state": state}
    metrics = {} if dice is None else {"test/dice_per_image": dice}
    return TrackedRun(f"run{started}", started, status, f"/mlruns/{started}", tags | more, params or {}, metrics)


def rows_of(runs):
    frame = frames.runs_frame(DEFINITION, runs)
    return {(row["arm"], row["seed"]): row for row in frame.to_dict("records")}


def test_every_arm_and_seed_is_a_row_in_the_order_of_the_definition():
    frame = frames.runs_frame(DEFINITION, [run("fast", 2, dice=0.9), run("slow", 1, state="failed", reason="broken")])
    assert list(zip(frame["arm"], frame["seed"], strict=True)) == [("slow", 1), ("slow", 2), ("fast", 1), ("fast", 2)]
    assert list(frame["state"]) == ["failed", "not run", "not run", "finished"]
    assert list(frame["reason"]) == ["broken", "", "", ""]
    assert list(frame["attempts"]) == [1, 0, 0, 1]
    assert frame["test/dice_per_image"].tolist()[3] == 0.9
    assert frame["test/dice_per_image"].isna().tolist() == [True, True, True, False]
    assert list(frame.columns) == list(frames.RUN_COLUMNS)
    assert frame["run_id"].tolist()[1] is None


def test_seeds_beyond_the_definition_and_arms_that_it_lost_are_rows_too():
    rows = rows_of([run("fast", 7, dice=0.9), run("gone", 1, dice=0.8)])
    assert [place for place, row in rows.items() if row["is_declared"]] == [
        *[("slow", 1), ("slow", 2)],
        *[("fast", 1), ("fast", 2)],
    ]
    assert rows["slow", 7]["state"] == "not run"
    assert list(rows)[-1] == ("gone", 1)
    assert ("gone", 2) not in rows


def test_a_finished_attempt_stands_before_a_newer_one_that_failed_and_a_newer_before_an_older():
    attempts = [run(dice=0.7, started=1), run(dice=0.8, started=2), run(state="failed", status="FAILED", started=3)]
    row = rows_of(attempts)["fast", 1]
    assert (row["test/dice_per_image"], row["attempts"], row["run_id"]) == (0.8, 3, "run2")


def test_a_run_that_is_not_whole_in_mlflow_is_still_running():
    row = rows_of([run(status="RUNNING", dice=0.9)])["fast", 1]
    assert row["state"] == "running"
    assert "delivers the rest" in row["reason"]
    assert math.isnan(row["test/dice_per_image"])


def test_runs_without_the_arms_settings_are_left_out_with_what_to_do():
    old = {"optimizer.lr": "0.01"}
    runs = [
        *(run("fast", seed, seed, dice=0.9, params=old) for seed in (1, 2)),
        run("fast", 1, 3, dice=0.5, params={"optimizer.lr": "0.001"}),
        run("slow", 1, 4, dice=0.7, params={"optimizer.lr": "0.0001"}),
    ]
    rows = rows_of(runs)
    assert (rows["fast", 1]["test/dice_per_image"], rows["fast", 1]["attempts"], rows["fast", 1]["stale"]) == (
        0.5,
        1,
        1,
    )
    stale = rows["fast", 2]
    assert (stale["run_id"], stale["state"], stale["attempts"], stale["stale"]) == (None, "not run", 0, 1)
    assert stale["reason"] == "made with optimizer.lr = 0.01, the arm now has 1e-3; run it again"
    assert (rows["slow", 1]["stale"], rows["slow", 2]["stale"], rows["slow", 2]["reason"]) == (0, 0, "")
    assert frames.describe_attempts(DEFINITION, runs) == [
        "fast, seed 2, left out: made with optimizer.lr = 0.01, the arm now has 1e-3; run it again."
    ]


def test_seeds_that_are_left_out_for_the_same_reason_are_one_note():
    runs = [run("fast", seed, seed, params={"optimizer.lr": "0.01"}) for seed in (2, 10, 1)]
    [note] = frames.describe_attempts(DEFINITION, runs)
    assert note.startswith("fast, seeds 1, 2, 10, left out: ")
    assert note.endswith("run them again.")


def test_a_newer_attempt_that_came_to_nothing_is_told():
    runs = [
        *(run("fast", seed, seed) for seed in (1, 2)),
        *(run("fast", seed, 10 + seed, state="failed", status="FAILED", reason="out of memory.") for seed in (1, 2)),
        run("slow", 1, 20),
        run("slow", 1, 21, state="interrupted", status="KILLED"),
        run("slow", 2, 30, state="failed", status="FAILED"),
        run("slow", 2, 31),
    ]
    assert frames.describe_attempts(DEFINITION, runs) == [
        "fast, seed 1; fast, seed 2: a newer attempt failed (out of memory); the finished one before it is shown.",
        "slow, seed 1: a newer attempt was interrupted; the finished one before it is shown.",
    ]
    assert rows_of(runs)["fast", 2]["run_id"] == "run2"


def test_tags_and_dataset_become_columns():
    tracked = TrackedRun(
        *("id", 5, "FINISHED", "/mlruns/id"),
        tags={"arm": "fast", "seed": "1", "plan": "a", "git_dirty": "true", "host": "here", "threads": "2"},
        data_name="pets",
        data_digest="0123456789abcdef",
        profile={"train": 4, "validation": 2, "test": 3, "skipped": 1},
    )
    row = rows_of([tracked])["fast", 1]
    assert (row["host"], row["threads"], row["git_dirty"], row["git_commit"]) == ("here", "2", True, "")
    assert (row["data_name"], row["data_fingerprint"]) == ("pets", "0123456789ab")
    assert [row[column] for column in frames.SIZES] == [4, 2, 3, 1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.7976931348623157e308])
def test_what_is_not_a_number_is_missing_and_said(value):
    runs = [run(dice=value), run("slow", dice=0.5, started=2)]
    frame = frames.runs_frame(DEFINITION, runs)
    assert frame["test/dice_per_image"].dropna().tolist() == [0.5]
    notes = frames.describe_oddities(DEFINITION, frame, runs, epochs({"run1000": 0.1, "run2": 0.2}, frame))
    assert notes == ["test/dice_per_image is not a number in fast, seed 1: taken as missing."]


def epochs(values, runs):
    """One epoch of train/loss for each run id."""
    history = pd.DataFrame({"run_id": list(values), "epoch": 1, "value": list(values.values())})
    return frames.epochs_frame(runs, {"train/loss": history})


def test_epochs_are_tidy_in_the_order_of_the_runs_and_the_last_of_an_epoch_counts():
    runs = frames.runs_frame(DEFINITION, [run("fast", 1, 1), run("slow", 2, 2)])
    history = pd.DataFrame({"run_id": ["run1"] * 3 + ["run2"], "epoch": [2, 1, 2, 1], "value": [9.0, 0.5, 0.4, 0.7]})
    tidy = frames.epochs_frame(runs, {"val/loss": history, "train/loss": history.iloc[3:]})
    assert tidy.to_numpy().tolist() == [
        ["slow", 2, 1, "val/loss", 0.7],
        ["slow", 2, 1, "train/loss", 0.7],
        ["fast", 1, 1, "val/loss", 0.5],
        ["fast", 1, 2, "val/loss", 0.4],
    ]
    assert tidy["epoch"].dtype == "int64"


def test_no_runs_have_no_epochs():
    runs = frames.runs_frame(DEFINITION, [])
    nothing = pd.DataFrame({"run_id": pd.Series([], dtype="object"), "epoch": [], "value": []})
    for histories in ({}, {"train/loss": nothing}):
        tidy = frames.epochs_frame(runs, histories)
        assert list(tidy.columns) == list(frames.EPOCH_COLUMNS)
        assert tidy.empty


def test_epochs_that_are_missing_or_no_numbers_are_said():
    runs = frames.runs_frame(DEFINITION, [run("fast", 1, 1), run("fast", 2, 2), run("slow", 1, 3, state="failed")])
    assert frames.describe_epochs(runs, epochs({"run1": math.nan}, runs)) == [
        "train/loss is not a number in some epochs of fast, seed 1: its curve has gaps there.",
        "MLflow holds no epochs of fast, seed 2, though finished: curves are drawn without them.",
    ]


def test_arms_that_the_definition_lost_are_said():
    runs = [run("gone", seed, seed) for seed in (1, 2)]
    frame = frames.runs_frame(DEFINITION, runs)
    [note] = frames.describe_oddities(DEFINITION, frame, runs, epochs({"run1": 0.1, "run2": 0.2}, frame))
    assert note.startswith("Arm 'gone' has 2 runs, but the ablation's definition no longer has it")


def with_params(arm, **params):
    tags = {"arm": arm, "seed": "1", "plan": "a"}
    return TrackedRun(arm, 1, "FINISHED", "", tags, {key.replace("__", "."): value for key, value in params.items()})


def test_settings_of_two_plans_are_compared_arm_by_arm_without_what_may_differ():
    shown = [
        with_params("slow", optimizer__lr="1", data__image_size="64", seed="1"),
        with_params("fast", optimizer__lr="2", data__image_size="128", seed="1", execution__threads="1"),
    ]
    hidden = [with_params("fast", optimizer__lr="3", data__image_size="64", seed="2", data__root="/else")]
    assert frames.compare_settings(shown, hidden, ["optimizer"]) == ["data.image_size (64, not 128)"]


def test_a_plan_that_is_not_shown_is_said_with_how_to_show_it():
    plans = {"new": [run(plan="new")], "old": [run(plan="old"), run("slow", plan="old")]}
    [note] = frames.describe_plans("rates-demo", DEFINITION, plans, "new")
    assert "rates-demo also holds 2 runs of plan old" in note
    assert "in the data or in the recipe" in note
    assert note.endswith("`--plan old` shows them.")


def test_hypotheses_are_rows():
    rows = frames.hypotheses_frame(DEFINITION).to_dict("records")
    assert [(row["number"], row["first"], row["second"], row["same"], row["ratio"]) for row in rows] == [
        (1, "fast", "slow", False, False),
        (2, "slow", "fast", True, True),
    ]


def test_long_lists_are_cut():
    assert frames.list_names(["a", "b"]) == "a; b"
    assert frames.list_names(list("abcdefg")) == "a; b; c; d; e and 2 more"
