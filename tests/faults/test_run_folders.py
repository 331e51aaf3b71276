"""Damaged folders of runs through `--list`, `--dry-run`, the closing tables, `--deliver` and `--prune`."""

import io
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

import call
from analysis.terminal import show_verdicts
from analysis.verdicts import judge
from segcore.errors import UserError
from segcore.execution import folder as folders
from segcore.execution.attempts import set_aside
from segcore.execution.planning import Lookup, describe_experiment, make_plans
from segcore.execution.pruning import prune
from segcore.execution.request import Request
from segcore.execution.standing import standing_digest
from segcore.execution.terminal import results_tables
from segcore.plan import Plan, Run
from segcore.tracking import Delivery, note_of
from segcore.tracking.__main__ import deliver_all
from tests.faults.damage import damaged, tell, within

FILES = ("state.json", "run.json", "epochs.jsonl", "settings.yaml", "results.json", "environment.json", "data.json")
NAMES = (*FILES, "training.json", "experiments.jsonl")
WRONG = (
    *("", "null", "5", "[]", "{}", '"x"', "[" * 100_000, '{"state": 5}', '{"state": "other"}', '{"state": "finished"}'),
    *('{"metrics": 5}', '{"metrics": {"test/dice_per_image": "x"}}', '{"metrics": {"train_seconds": null}}'),
    *('{"name": 5}', '{"name": {}}', '{"created": "x"}', '{"sizes": {"train": 0, "validation": 0, "test": 0}}'),
    *(
        '{"created": Infinity, "attempt": "x"}',
        '{"state": "finished", "ended": Infinity}',
        '{"created": ' + "9" * 400 + "}",
    ),
    *('{"state": "finished", "started": -1e300}', '{"name": "small", "seed": Infinity}', '{"x": ' + "[" * 100_000),
    *("NaN", '{"metrics": {"test/dice_per_image": NaN}}', "\0", "seed: 99999999999999999999", "a: [", "!!python/x y"),
)


@pytest.fixture
def request_of_runs(write_ablation, finish, monkeypatch, tmp_path, empty_database):
    """A request for the small ablation, with four finished runs, one of them twice."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_database, tmp_path)
    data = {"format": "synthetic", "synthetic_images": 12, "image_size": 32, "cache_dir": str(tmp_path / "cache")}
    claim = {"claim": "c", "better": "large", "than": "small", "margin": 0.1}
    metrics = ("test/dice_per_image", "train_seconds", "val/loss")
    path = write_ablation(
        settings={"data": data, "execution": {"device": "cpu", "threads": 2}},
        hypotheses=[claim | {"metric": metric} for metric in metrics],
    )
    request = Request([path])
    (plan,) = make_plans(request, Lookup(may_download=False))
    for number, run in enumerate(plan.runs):
        finish(run, dice=0.8 + number / 100).note_experiment("small", note(plan, run))
    set_aside(folders.folder_of(plan.runs[0]))
    finish(plan.runs[0]).note_experiment("small", note(plan, plan.runs[0]))
    return request


def note(plan: Plan, run: Run) -> dict[str, object]:
    """What the runner notes of a run's delivery."""
    info = describe_experiment(plan.ablation)
    return note_of(
        Delivery(folders.folder_of(run).path, info, run.arm, run.seed, "optimizer.lr", run.fingerprint, plan.plan)
    )


def wounds(runs: Path, number: int, seed: int) -> Iterator[str]:
    """Damages a file or two of `runs`, yields which, and mends them again."""
    draw = random.Random(seed)
    files = sorted(path for path in runs.rglob("*") if path.name in NAMES)
    whole = {path: path.read_bytes() for path in files}
    for _ in range(number):
        hit = draw.sample(files, draw.choice([1, 1, 2, 3]))
        for path in hit:
            kind = draw.randrange(6)
            if kind == 0:
                path.unlink()
            elif kind == 1:
                path.write_text(draw.choice(WRONG))
            elif kind == 2 and path.suffix == ".json":
                path.write_text(json.dumps(without_a_key(json.loads(whole[path]), draw)))
            else:
                path.write_bytes(damaged(whole[path], draw))
        yield "; ".join(f"{path.name}: {path.read_bytes()[:300] if path.exists() else 'gone'!r}" for path in hit)
        for path in hit:
            path.write_bytes(whole[path])


def without_a_key(content: dict[str, object], draw: random.Random) -> dict[str, object]:
    gone = draw.choice(sorted(content))
    return {key: value for key, value in content.items() if key != gone}


def look_at_everything(request: Request, lookup: Lookup) -> str:
    """What a user sees of the runs: the list, the plan, the closing table, the verdicts."""
    text = io.StringIO()
    console = Console(file=text, width=150)
    assert call.list_all(request, console) == 0
    assert call.look_ahead(request, False, console) == 0
    (plan,) = make_plans(request, lookup)
    console.print(results_tables(plan))
    console.print(show_verdicts(judge(call.definition_of(plan), call.frame_of(plan))))
    standing_digest(plan)
    return text.getvalue()


def clear_up(text: io.StringIO) -> None:
    """What other commands do with the runs: deliver them, and look for what nothing needs."""
    console = Console(file=text, width=150)
    assert deliver_all([], console) in (0, 1)
    console.print(prune(is_only_shown=True))


def fuzz(request: Request, number: int, seed: int) -> Counter[str]:
    counts: Counter[str] = Counter(cases=number)
    lookup = Lookup(may_download=False)
    for wound in wounds(folders.RUNS, number, seed):
        try:
            with within(30, wound):
                shown = look_at_everything(request, lookup)
                clear_up(cleared := io.StringIO())
        except UserError as error:
            assert str(error).strip(), wound
            counts["refused"] += 1
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}: {wound}") from error
        else:
            assert "large" in shown
            assert "small" in shown
            assert "holds all there is of" in cleared.getvalue()
            assert "Would be removed" in cleared.getvalue() or "Nothing to remove" in cleared.getvalue()
            counts["accepted"] += 1
            counts["told as not delivered"] += "could not be delivered" in cleared.getvalue()
    return counts


@pytest.fixture(autouse=True)
def runs_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")


def test_a_sample_of_damaged_folders(request_of_runs):
    assert fuzz(request_of_runs, 30, 7)["accepted"] == 30


def test_files_that_are_folders_and_folders_that_are_files(request_of_runs):
    for path in sorted(folders.RUNS.glob("*/*.json*")):
        path.unlink()
        path.mkdir()
    (folders.RUNS / "file").write_text("x")
    assert "not run" in look_at_everything(request_of_runs, Lookup(may_download=False))
    shutil.rmtree(folders.RUNS)
    folders.RUNS.write_text("a file")
    assert "not run" in look_at_everything(request_of_runs, Lookup(may_download=False))


@pytest.mark.faults
def test_thousands_of_damaged_folders(request_of_runs):
    counts = fuzz(request_of_runs, 2000, 8)
    tell("damaged folders of runs", counts)
    assert counts["accepted"] == 2000
    assert 0 < counts["told as not delivered"] < 2000
