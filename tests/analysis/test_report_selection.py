from dataclasses import replace
from pathlib import Path

import pytest

from analysis.definition import Definition
from analysis.reporting.selection import select
from analysis.results import ExperimentRow


def row(name, preset, start, num_runs=3, is_deleted=False):
    return ExperimentRow(f"{name}-{preset}" if preset else name, name, preset, name, start, num_runs, is_deleted)


def file(name, source=""):
    return Definition(name, name.title(), "Why?", ("optimizer.lr",), {"a": {}}, (1,), section="3.1", source=source)


ROWS = [row("loss", "demo", 10), row("loss", None, 5), row("lr_sweep", "demo", 8), row("optimizer", "demo", 0, 0)]
FILES = {name: file(name) for name in ("loss", "lr_sweep", "optimizer")}


def test_the_newest_runs_preset_is_shown_and_the_rest_is_told():
    chosen = select(ROWS, FILES, (), None)
    assert chosen.experiments == ("loss-demo", "lr_sweep-demo")
    assert chosen.notes == (
        "Not shown, because runs of different presets cannot be compared: `loss` (`--preset base`).",
    )
    [absent] = chosen.not_run
    assert absent.command == "python runner.py experiments/optimizer.yaml --preset demo"


@pytest.mark.parametrize(
    ("asked", "preset", "experiments"),
    [
        (["loss"], None, ("loss-demo",)),
        (["experiments/loss.yaml"], None, ("loss-demo",)),
        (["loss"], "base", ("loss",)),
        (["lr_sweep-demo"], None, ("lr_sweep-demo",)),
        (["lr_sweep-demo", "loss"], "base", ("loss", "lr_sweep-demo")),
        ([], "base", ("loss",)),
        ([], "pets64", ()),
        (["los"], None, ("los",)),  # MLflow is asked, and says what is near
    ],
)
def test_an_ablation_an_experiment_or_a_file_may_be_named(asked, preset, experiments):
    assert select(ROWS, FILES, asked, preset).experiments == experiments


def test_an_ablation_without_runs_is_named_with_its_command():
    chosen = select(ROWS, FILES, ["optimizer", "loss"], "base")
    assert [absent.command for absent in chosen.not_run] == ["python runner.py experiments/optimizer.yaml"]
    assert select([], FILES, ["loss"], None).not_run[0].command == "python runner.py experiments/loss.yaml"


def test_a_preset_without_runs_is_told():
    [note] = select(ROWS, FILES, [], "pets64").notes
    assert note.startswith("No experiment of preset pets64 has runs; there are `loss` (`--preset base`)")


def damaged(name, preset, start):
    return replace(row(name, preset, start), problem="what it compares cannot be told")


BESIDE_TRASH = [damaged("optimizer", "pets64", 99), row("optimizer", "demo", 0, 0, True)]


@pytest.mark.parametrize(
    ("rows", "asked", "preset", "experiments", "not_run"),
    [
        ([damaged("optimizer", "demo", 99)], (), None, ("loss-demo", "lr_sweep-demo", "optimizer-demo"), []),
        ([damaged("optimizer", "demo", 99)], (), "demo", ("loss-demo", "lr_sweep-demo", "optimizer-demo"), []),
        ([damaged("optimizer", "pets64", 99)], (), None, ("loss-demo", "lr_sweep-demo", "optimizer-pets64"), [-1]),
        ([damaged("optimizer-demo", None, 99)], (), None, ("loss-demo", "lr_sweep-demo", "optimizer-demo"), [-1]),
        ([damaged("optimizer", "demo", 99)], ["loss"], None, ("loss-demo",), []),
        ([damaged("optimizer", "demo", 99)], ["optimizer"], None, ("optimizer-demo",), []),
        (BESIDE_TRASH, (), None, ("loss-demo", "lr_sweep-demo", "optimizer-pets64", "optimizer-demo"), []),
    ],
)
def test_a_damaged_experiment_is_always_asked_for_and_decides_nothing(rows, asked, preset, experiments, not_run):
    """Loading it tells what is wrong; the last one may be an ablation that the shown preset was never run with."""
    chosen = select([*ROWS[:3], *rows], FILES, asked, preset)
    assert chosen.experiments == experiments
    assert [absent.command for absent in chosen.not_run] == (
        ["python runner.py experiments/optimizer.yaml --preset demo"] * len(not_run)
    )
    assert [note for note in chosen.notes if "optimizer" in note] == []


def test_beside_a_damaged_experiment_a_preset_without_runs_is_told():
    [note] = select([*ROWS, damaged("optimizer", "demo", 99)], FILES, [], "pets64").notes
    assert note.startswith("No experiment of preset pets64 has runs; there are `loss`")
    assert select([ROWS[1], damaged("optimizer", "demo", 99)], FILES, [], "demo").notes == ()


DELETED = [row("lr_sweep", "demo", 0, 0, True), row("lr_sweep", None, 0, 0, True)]


@pytest.mark.parametrize(
    ("rows", "asked", "preset", "experiments", "not_run"),
    [
        (ROWS[:2], (), None, ("loss-demo", "lr_sweep-demo"), ["optimizer"]),
        (ROWS[:2], (), "base", ("loss", "lr_sweep"), ["optimizer"]),
        (ROWS[:2], ["lr_sweep"], "demo", ("lr_sweep-demo",), []),
        (ROWS[:2], ["lr_sweep"], None, ("lr_sweep-demo", "lr_sweep"), []),
        (ROWS[:2], ["lr_sweep"], "pets64", (), ["lr_sweep"]),
        (ROWS[:2], ["loss"], None, ("loss-demo",), []),
        (ROWS[:2], ["lr_sweep-demo"], None, ("lr_sweep-demo",), []),
        ([], (), None, ("lr_sweep-demo", "lr_sweep"), ["loss", "optimizer"]),
    ],
)
def test_what_lies_in_the_trash_is_asked_for_and_not_run(rows, asked, preset, experiments, not_run):
    """Loading it tells how to restore it; the runner would stop with the same."""
    chosen = select([*rows, *DELETED], FILES, asked, preset)
    assert chosen.experiments == experiments
    assert [Path(absent.command.split()[2]).stem for absent in chosen.not_run] == not_run


def test_a_file_may_have_another_name_than_its_ablation():
    files = {"loss": file("loss", "experiments/first loss.yaml")}
    [absent] = select([], files, ["experiments/first loss.yaml"], "demo").not_run
    assert absent.command == "python runner.py 'experiments/first loss.yaml' --preset demo"
    assert select(ROWS, files, ["./experiments/first loss.yaml"], None).experiments == ("loss-demo",)
