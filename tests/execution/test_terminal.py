import io
import math

import pytest
from rich.console import Console

from segcore.ablation import load_ablation
from segcore.execution import folder as folders
from segcore.execution.attempts import set_aside, start_attempt
from segcore.execution.folder import folder_of
from segcore.execution.jobs import Job
from segcore.execution.terminal import Display, mean_and_spread, results_tables, show_seconds
from segcore.plan import Facts, expand


@pytest.fixture
def plan(write_ablation, monkeypatch, tmp_path):
    """The small ablation's plan, with its runs below the test's own folder."""
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    return expand(
        load_ablation(write_ablation(), overrides=["trainer.epochs=2"]), lambda config: Facts("data", "float32")
    )


def finish(run, dice):
    folder = start_attempt(run, "float32")
    metrics = {"train/loss": 0.5, "val/dice_per_image": 0.6, "images_per_second": 9.0}
    for epoch in (1, 2):
        folder.append("epochs", {"epoch": epoch, "time": 0.0, "metrics": metrics})
    folder.write("results", {"time": 0.0, "metrics": {"test/dice_per_image": dice, "train_seconds": 120.0}})
    folder.set_state("finished")
    return folder


def render(*objects, terminal=False):
    console = Console(file=io.StringIO(), width=160, force_terminal=terminal)
    for item in objects:
        console.print(item)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s"), (89, "89 s"), (600, "10 min"), (5399, "90 min"), (7200, "2.0 h")]
)
def test_durations(seconds, text):
    assert show_seconds(seconds) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.5, 0.7], "0.6000 ± 0.1414"),
        ([0.5, None], "0.5000"),
        ([0.5, math.nan], "0.5000"),
        ([None], "–"),
        ([], "–"),
        ([10.0, 12.0], "11.0 ± 1.4"),
    ],
)
def test_mean_and_spread(values, text):
    assert mean_and_spread(values) == text


def test_the_table_shows_mean_spread_each_seed_and_what_is_missing(plan):
    large_1, small_1, large_2, small_2 = plan.runs
    finish(large_1, 0.8)
    finish(large_2, 0.9)
    finish(small_1, 0.7)
    start_attempt(small_2, "float32").set_state("diverged", "training loss is nan in epoch 1")
    lines = render(results_tables(plan)).splitlines()
    large = next(line for line in lines if line.strip().startswith("large"))
    small = next(line for line in lines if line.strip().startswith("small"))
    for part in ("0.8500 ± 0.0707", "0.8000", "0.9000", "2.0", "finished"):
        assert part in large
    assert "1 diverged: training loss is nan in epoch 1" in "\n".join(lines)
    for part in ("0.7000", "–", "1 finished"):
        assert part in small
    assert "±" not in small


def test_what_is_no_number_is_a_dash(plan):
    for run, dice in zip(plan.runs, (0.8, math.nan, math.nan, 0.6), strict=True):
        finish(run, dice)
    lines = render(results_tables(plan)).splitlines()
    (large,) = (line for line in lines if line.strip().startswith("large"))
    assert "0.8000" in large and "–" in large and "nan" not in large


def test_the_table_shows_the_attempt_that_finished_and_notes_the_one_that_did_not(plan):
    run = plan.runs[0]
    set_aside(finish(run, 0.8))
    start_attempt(run, "float32").set_state("failed", "disk full")
    finish(plan.runs[2], 0.9)
    text = render(results_tables(plan))
    for part in ("0.8500 ± 0.0707", "0.8000", "finished", "seed 1: a newer attempt failed (disk full)"):
        assert part in text
    assert "1 finished" not in text


def test_arms_that_were_not_asked_for_are_shown_as_they_stand(write_ablation, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    plan = expand(load_ablation(write_ablation(), seeds=[1]), lambda config: Facts("data", "float32"), ["large"])
    finish(plan.runs_of([2])[1], 0.7)
    text = render(results_tables(plan))
    for part in ("seed 1", "seed 2", "0.7000", "1 finished", "2 not run"):
        assert part in text


def test_many_seeds_share_a_column(write_ablation, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    plan = expand(load_ablation(write_ablation(), seeds=[3, 4, 5]), lambda config: Facts("data", "float32"))
    finish(plan.runs[0], 0.8)
    finish(plan.runs_of([5])[0], 0.9)
    text = render(results_tables(plan))
    assert "seeds 1, 2, 3, 4, 5" in text
    assert "– – 0.8000 – 0.9000" in text


def test_arms_named_like_markup_are_shown_as_they_are(write_ablation, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    arms = {"[red]a[/red]": {"optimizer.lr": 1e-3}, "[/]": {"optimizer.lr": 1e-4}}
    plan = expand(load_ablation(write_ablation(arms=arms, hypotheses=None)), lambda config: Facts("data", "float32"))
    text = render(results_tables(plan))
    assert "[red]a[/red]" in text
    assert "[/]" in text


class GoneProcess:
    """A process that ended well."""

    returncode = 0

    def poll(self):
        return 0


def test_without_a_terminal_there_is_a_line_an_epoch_and_the_time_left(plan):
    run = plan.runs[0]
    job = Job(run, folder_of(run), GoneProcess())
    console = Console(file=io.StringIO(), width=160, force_terminal=False)
    with Display(console, num_runs=2, epochs_to_do=4) as display:
        display.start(job)
        finish(run, 0.8)
        display.tick([job])
        display.tick([job])
        display.end(job)
    lines = console.file.getvalue().splitlines()
    assert sum("large, seed 1: epoch" in line for line in lines) == 2
    assert "epoch 1 of 2: loss 0.5000, val Dice 0.6000, 9 images/s" in lines[0]
    assert "0 of 2 runs done, about" in lines[0]
    assert lines[-1].startswith("finished  large, seed 1: test Dice 0.8000 after 2 min")
