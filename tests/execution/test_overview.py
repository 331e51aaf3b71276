import io
import platform

import pytest
from rich.console import Console

from segcore import build
from segcore.ablation import load_ablation
from segcore.execution import folder as folders
from segcore.execution import overview
from segcore.execution.folder import start_attempt
from segcore.execution.overview import seconds_of_similar, show_plan
from segcore.execution.session import Request
from segcore.plan import Facts, expand


@pytest.fixture
def plan(write_ablation, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(overview, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(build, "has_native_bfloat16", lambda: False)
    settings = {"execution": {"device": "cpu", "threads": 2}, "trainer.epochs": 4}
    return expand(load_ablation(write_ablation(settings=settings)), lambda config: Facts("content", "float32"))


def finish(run, seconds, **environment):
    folder = start_attempt(run, "float32")
    folder.write("environment", {"device": "cpu", "threads": 2, "host": platform.node()} | environment)
    folder.write("data", {"fingerprint": "content"})
    folder.write("training", {"train_seconds": seconds})
    folder.set_state("finished")


def render(item):
    console = Console(file=io.StringIO(), width=200)
    console.print(item)
    return console.file.getvalue()


def test_the_time_left_comes_from_finished_runs_of_the_same_work(plan):
    assert seconds_of_similar(plan.runs[1]) is None
    finish(plan.runs[0], 600)
    assert seconds_of_similar(plan.runs[1]) == 600
    text = render(show_plan(plan))
    assert "3 of 4 runs to do, about 30 min" in text
    assert "23,502,881" in text
    assert "optimizer.lr = 0.001" in text


@pytest.mark.parametrize("elsewhere", [{"device": "NVIDIA H200"}, {"threads": 64}, {"host": "another"}])
def test_runs_from_elsewhere_tell_nothing(plan, elsewhere):
    finish(plan.runs[0], 600, **elsewhere)
    assert seconds_of_similar(plan.runs[1]) is None
    assert "time unknown" in render(show_plan(plan))


def test_the_time_grows_with_the_epochs(plan, write_ablation):
    finish(plan.runs[0], 600)
    settings = {"execution": {"device": "cpu", "threads": 2}, "trainer.epochs": 8}
    longer = expand(load_ablation(write_ablation(settings=settings)), lambda config: Facts("content", "float32"))
    assert seconds_of_similar(longer.runs[0]) == 1200


def test_a_folder_of_an_older_version_is_no_obstacle(plan):
    finish(plan.runs[0], 600)
    settings = folders.folder_of(plan.runs[0]).path / "settings.yaml"
    settings.write_text("model: {name: gone}\ntrainer: {epochs: 3}\n")
    assert seconds_of_similar(plan.runs[1]) is None


def test_the_list_says_why_a_state_is_not_known(write_ablation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write_ablation()
    (tmp_path / "broken.yaml").write_text("name: broken\n")
    text = render(overview.list_ablations(Request([file, tmp_path / "broken.yaml"])))
    assert "Is a large rate better" in text
    assert "(1) Not known: data.root=data/oxford-iiit-pet" in text
    assert "(2)" in text
    assert "broken.yaml: title is missing" in text
