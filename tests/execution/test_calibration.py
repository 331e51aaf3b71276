import io
from dataclasses import replace

import pytest
from rich.console import Console

from segcore.execution import calibration, costs
from segcore.execution import folder as folders
from segcore.execution.calibration import CalibrationError, calibrate, calibrate_unknown, random_data
from segcore.execution.pace import Pace, Paces, Sizes, kind_of, read_paces

SIZES = Sizes(train=100, validation=20, test=40)
PACE = Pace(training=1.0, validation=0.5, testing=0.25, fixed=5.0, memory_gib=2.0)


class Everything:
    """A lookup that knows the sizes alone."""

    def sizes(self, config):
        return SIZES


@pytest.fixture
def measure_all(monkeypatch):
    """A function that calibrates runs with a made-up measurement: paces, what was measured, and the output."""
    monkeypatch.setattr(costs, "estimate_memory_gib", lambda *about, keeps=True: 2.0 if keeps else 1.5)
    monkeypatch.setattr(costs, "free_memory_gib", lambda device: 3.0)

    def run(runs, paces, pace=PACE):
        asked, console = [], Console(file=io.StringIO(), width=200)

        def measure(config, sizes):
            asked.append(config.model.name)
            if isinstance(pace, Exception):
                raise pace
            return pace

        monkeypatch.setattr(calibration, "calibrate", measure)
        return calibrate_unknown(runs, paces, Everything(), console), asked, console.file.getvalue()

    return run


def test_each_unknown_kind_of_work_is_measured_once_and_kept(make_plan, finish, measure_all):
    arms = {"U-Net": {"model.name": "unet"}, "ResNet": {"model.name": "resnet34_unet"}}
    plan = make_plan(factor="model.name", arms=arms, settings={"optimizer.lr": 1e-3}, hypotheses=None)
    finish(next(run for run in plan.runs if run.arm == "ResNet"))
    paces, asked, _ = measure_all(plan.runs, read_paces())
    assert asked == ["unet"]
    assert paces.of(kind_of(plan.runs[0].config)) == [PACE]
    assert measure_all(plan.runs, read_paces())[1] == []


def test_what_does_not_fit_into_memory_is_not_tried(make_plan, measure_all, monkeypatch):
    monkeypatch.setattr(costs, "free_memory_gib", lambda device: 1.0)
    paces, asked, output = measure_all(make_plan().runs, Paces({}, {}))
    assert (asked, paces.measured) == ([], {})
    assert "not measured: resnet34_unet at 256 x 256, batch 128, float32, cpu: too little memory is free" in output


def test_a_measurement_that_fails_is_told(make_plan, measure_all):
    paces, _, output = measure_all(make_plan().runs, Paces({}, {}), CalibrationError("it broke"))
    assert "float32, cpu: it broke" in output
    assert paces.measured == {}
    assert not (folders.RUNS / "timings.json").exists()


def test_the_data_is_a_batch_of_each_kind_or_the_whole_part(make_config):
    config = make_config(data__image_size=32, data__batch_size=8, evaluation__batch_size=30)
    data = random_data(config, SIZES)
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 20, 30)
    assert data.train.images_NHW3.shape == (8, 32, 32, 3)
    assert set(data.train.codes_NHW.ravel()) == {1, 2, 3}


def test_a_run_in_miniature(make_config):
    """The real thing, on tiny images: it tells a time of every part."""
    small = {"data__image_size": 32, "data__batch_size": 2, "execution__device": "cpu", "execution__threads": 1}
    config = make_config(**small, optimizer__lr=1e30, trainer__epochs=1)
    pace = calibrate(config, replace(SIZES, validation=2, test=2))
    assert pace.training > 0 and pace.validation > 0 and pace.testing > 0
    assert pace.fixed > 1  # importing torch takes longer
    assert 0.2 < pace.memory_gib < 20


def test_a_process_that_dies_is_told(make_config, monkeypatch):
    monkeypatch.setattr(calibration.sys, "executable", "/bin/false")
    with pytest.raises(CalibrationError, match="the process ended with status 1"):
        calibrate(make_config(), SIZES)
