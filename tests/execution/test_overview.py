import io
import re
import shutil
from collections import namedtuple

import pytest
from rich.console import Console

from segcore import build
from segcore.data import DataIndex
from segcore.data.index import Item
from segcore.execution import costs
from segcore.execution.attempts import start_attempt
from segcore.execution.folder import folder_of
from segcore.execution.overview import describe_whole, show_plan
from segcore.execution.pace import Pace, Sizes, keep_timing, kind_of, read_paces
from segcore.execution.planning import Lookup
from segcore.execution.request import Request

SIZES = Sizes(train=100, validation=20, test=40)
ARMS = {"U-Net": {"model.name": "unet"}, "ResNet": {"model.name": "resnet34_unet"}}
Usage = namedtuple("Usage", "total used free")


class KnownLookup(Lookup):
    """The dataset of the small plan: 160 images, of which the first has no file."""

    def __init__(self, folder):
        super().__init__(may_download=False)
        self.folder = folder

    def index(self, config):
        (self.folder / "there").touch()
        there, absent = self.folder / "there", self.folder / "absent"
        items = [Item(f"pet_{number}", there if number else absent, there, "", None) for number in range(160)]
        parts = (range(100), range(100, 120), range(120, 160))
        return DataIndex("pets", self.folder, tuple(items), *map(tuple, parts), "trimap", "content")


@pytest.fixture
def look(tmp_path, monkeypatch):
    """A function that shows a plan on a machine with 10 GB of disk and 4 GiB of memory free, in one line a row."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(10e9, 0, 10e9))
    monkeypatch.setattr(costs, "free_memory_gib", lambda device: 4.0)
    monkeypatch.setattr(costs, "estimate_memory_gib", lambda *about, keeps=True: 2.0 if keeps else 1.5)

    def show(plan, width=200, **request):
        console = Console(file=io.StringIO(), width=width)
        paces = read_paces()
        console.print(show_plan(plan, Request([], **request), KnownLookup(tmp_path), paces))
        console.print(describe_whole([plan, plan], Request([], **request), KnownLookup(tmp_path), paces))
        return re.sub(r" +\n", "\n", console.file.getvalue())

    return show


def row(text, arm):
    """The cells of an arm's row."""
    line = next(line for line in text.splitlines() if line.strip().startswith(arm))
    return re.split(r"  +", line.strip())


def test_nothing_known(make_plan, look):
    text = look(make_plan())
    assert row(text, "large") == ["large", "1e-3", "23.5 M", "6.41", "unknown", "0 of 2", "unknown"]
    assert "4 of 4 runs. Their time is not known: no run like these has finished here." in text
    assert "Add --calibrate to measure it, about half a minute." in text
    assert "pets at 256 x 256: 100 training, 20 validation, 40 test images; the first run decodes them" in text
    assert "without image or mask: 1 (pet_0)" in text
    assert "2.0 GiB a run (estimated); 4.0 GiB of this machine free" in text
    assert "All ablations together: 4 runs to do. Nothing was trained." in text


def test_finished_runs_tell_the_time_and_the_memory(make_plan, finish, look):
    plan = make_plan()
    finish(plan.runs[0])
    start_attempt(plan.runs[1], "float32").set_state("failed", "loss is nan")
    text = look(plan)
    assert row(text, "large")[4:] == ["56 s", "1 of 2", "56 s"]
    assert row(text, "small")[4:] == ["56 s", "0 of 2", "2 min"]
    assert "3 of 4 runs, about 3 min one after the other (from 1 finished run like these here)" in text
    assert "so far 1 failed" in text
    assert "1.5 GiB a run (finished runs)" in text
    assert "together: 3 runs to do, about 3 min." in text


def test_a_rerun_does_everything_again(make_plan, finish, look):
    plan = make_plan()
    for run in plan.runs:
        finish(run)
    assert "nothing: all runs have come to their end" in look(plan)
    assert "4 of 4 runs (4 of them anew, as --rerun asks or has asked)" in look(plan, rerun=True)
    assert row(look(plan, rerun=True), "large")[4:] == ["56 s", "2 of 2", "2 min"]


def test_a_calibration_is_named_as_the_source(make_plan, look):
    plan = make_plan()
    (folder_of(plan.runs[0]).path.parent).mkdir()
    keep_timing(kind_of(plan.runs[0].config), Pace(0.1, 0.1, 0.1, 2.0, 3.0))
    text = look(plan)
    assert "4 of 4 runs, about 4 min one after the other (from a calibration)" in text
    assert "3.0 GiB a run (measured)" in text


def test_an_arm_that_is_not_asked_for_is_shown_with_nothing_to_do(make_plan, look):
    text = look(make_plan(only=["large"]))
    assert row(text, "small")[-2:] == ["0 of 2", "none"]
    assert "2 of 2 runs" in text


def test_what_differs_along_with_the_factor_is_said(make_plan, finish, look):
    plan = make_plan(factor="model.name", arms=ARMS, settings={"optimizer.lr": 1e-3}, hypotheses=None)
    finish(plan.runs[0], training=60.0)
    text = look(plan)
    assert "U-Net has 1.3 times the parameters and 15 times the compute of ResNet: the factor changes these too" in text
    assert "no run like some of these has finished here" in text
    finish(plan.runs[1])
    assert "15 times the compute and 4.6 times the time of ResNet" in look(plan)
    assert "the factor changes these too" not in look(make_plan())


def test_a_difference_in_time_alone_is_said_where_it_is_known(make_plan, finish, look):
    arms = {"batch 8": {"data.batch_size": 8}, "batch 4": {"data.batch_size": 4}}
    plan = make_plan(factor="data.batch_size", arms=arms, hypotheses=None, settings={"optimizer.lr": 1e-3})
    assert "the factor changes" not in look(plan)
    (folder_of(plan.runs[0]).path.parent).mkdir()
    large, small = (kind_of(run.config) for run in plan.runs[:2])
    keep_timing(large, Pace(0.05, 0.1, 0.1, 2.0, 3.0))  # 36 s: 4 epochs of 7 s, 8 s of the rest
    keep_timing(small, Pace(0.0525, 0.1, 0.1, 2.0, 3.0))  # 37 s
    assert "the factor changes" not in look(plan)
    keep_timing(small, Pace(0.1, 0.1, 0.1, 2.0, 3.0))  # 56 s
    assert "batch 4 has 1.6 times the time of batch 8: the factor changes this too." in look(plan)


def test_settings_are_written_as_the_report_does(make_plan, look):
    arms = {"fast": {"optimizer.lr": 0.01}, "slow": {"optimizer.lr": 3e-5}}
    text = look(make_plan(arms=arms, hypotheses=None))
    assert (row(text, "fast")[1], row(text, "slow")[1]) == ("0.01", "3e-5")


def test_long_names_of_arms_can_be_told_apart_in_80_columns(make_plan, look):
    arms = {
        "cosine": {"scheduler": {"name": "cosine", "eta_min": 1e-5}},
        "exponential_decay_0.95": {"scheduler": {"name": "exponential", "gamma": 0.95}},
        "exponential_decay_0.999": {"scheduler": {"name": "exponential", "gamma": 0.999}},
    }
    text = look(make_plan(factor="scheduler", arms=arms, hypotheses=None), width=80)
    assert "…" not in text
    first_column = "".join(line[:12].split("  ")[0].strip() for line in text.splitlines())
    assert "exponential_decay_0.95" in first_column and "exponential_decay_0.999" in first_column


def test_an_arm_that_the_machine_cannot_run_is_left_out(make_plan, look):
    arms = {"half": {"trainer.precision": "float16"}, "full": {"trainer.precision": "float32"}}
    text = look(make_plan(factor="trainer.precision", arms=arms, hypotheses=None))
    assert "half is left out: needs CUDA" in text
    assert row(text, "half")[4:] == ["–", "0 of 2", "–"]
    assert "2 of 4 runs" in text


@pytest.mark.parametrize(("keys", "header"), [(3, "weight_decay"), (4, "differs in")])
def test_many_settings_share_a_column(make_plan, look, keys, header):
    names = ["optimizer.lr", "optimizer.weight_decay", "trainer.clip_norm", "trainer.epochs"][:keys]
    arms = {arm: dict.fromkeys(names, value) for arm, value in (("a", 1), ("b", 2))}
    arms = {arm: values | {"optimizer.lr": values["optimizer.lr"] / 100} for arm, values in arms.items()}
    arms = {arm: {key: float(value) if "epochs" not in key else value for key, value in values.items()}
            for arm, values in arms.items()}  # fmt: skip
    text = look(make_plan(factor=names, arms=arms, hypotheses=None, settings={"trainer.epochs": 4}))
    assert header in text
    assert ("optimizer.weight_decay = 1" in text) == (keys == 4)


def test_too_little_disk_and_memory_are_warnings(make_plan, look, monkeypatch):
    plan = make_plan()
    # Four runs with three copies of 94 MB and 6 MB besides, and the cache of 160 images at 256 x 256.
    needed = 4 * (3 * 4 * 23_502_881 + 6e6) + 160 * 256 * 256 * 4
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(10e9, 0, needed - 1))
    text = look(plan, jobs=3)
    assert "1.2 GB needed, 1 GB free" in text and "too little" in text
    assert "2.0 GiB a run (estimated), 6.0 GiB for 3 at a time; 4.0 GiB of this machine free: too little" in text
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(10e9, 0, needed + 1))
    assert "too little" not in look(plan, jobs=1)
    monkeypatch.setattr(costs, "free_memory_gib", lambda device: 1.8)
    assert "1.8 GiB of this machine free: little, so freed memory is given back at once" in look(plan, jobs=1)
    monkeypatch.setattr(costs, "free_memory_gib", lambda device: 1.4)
    assert "1.4 GiB of this machine free: too little" in look(plan, jobs=1)


def test_a_tracking_server_keeps_its_copies_elsewhere(make_plan, look, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "0.4 GB needed" in look(make_plan())


def test_it_fits_80_columns(make_plan, finish, look):
    arms = {"chosen on validation": {"evaluation.threshold": "validation"}, "fixed": {"evaluation.threshold": 0.4}}
    plan = make_plan(factor="evaluation.threshold", arms=arms, hypotheses=None)
    finish(plan.runs[0])
    text = look(plan, width=80)
    assert row(text, "chosen") == ["chosen on validation", "validation", "23.5 M", "6.41", "56 s", "1 of 2", "56 s"]
    assert row(text, "fixed")[-3:] == ["56 s", "0 of 2", "16 s"]  # one training is done, the other is its neighbour's


def test_a_run_without_its_device_is_told(make_config):
    with pytest.raises(build.UserError, match="CUDA"):
        kind_of(make_config(execution__device="cuda:77"))
