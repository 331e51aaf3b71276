import json
from dataclasses import replace

import pytest

from segcore.execution import folder as folders
from segcore.execution.attempts import start_attempt
from segcore.execution.folder import folder_of
from segcore.execution.pace import (
    Kind,
    Pace,
    Sizes,
    finished_trainings,
    keep_timing,
    kind_of,
    read_pace,
    read_paces,
    read_timings,
    seconds_of_each,
)

SIZES = Sizes(train=100, validation=20, test=40)
KIND = Kind("unet", 64, 8, 16, "float32", "cpu", 2, "here")
PACE = Pace(training=1.0, validation=0.5, testing=0.25, fixed=5.0, memory_gib=2.0)


def test_a_run_is_its_epochs_its_test_and_the_rest():
    sizes = Sizes(train=10, validation=4, test=8)
    assert PACE.train_seconds(3, sizes) == 3 * (10 * 1.0 + 4 * 0.5)
    assert PACE.other_seconds(sizes) == (4 + 8) * 0.25 + 5.0


def test_a_finished_run_tells_its_own_time_again(make_plan, finish):
    first, second, *_ = make_plan().runs
    assert read_paces().seconds_of(second.config, SIZES) is None
    finish(first)
    kind, pace = read_pace(folder_of(first))
    assert kind == kind_of(second.config)
    # An epoch takes 10 s for 100 images and 2 s for 20; testing 60 images like validation 6 s of the other 8.
    assert pace == Pace(0.1, 0.1, 0.1, pytest.approx(2.0), 1.5)
    paces = read_paces()
    assert paces.seconds_of(second.config, SIZES) == pytest.approx(4 * 12 + 8)
    assert paces.seconds_of(second.config, SIZES, trains=False) == pytest.approx(8)
    assert paces.memory_gib(kind) == 1.5


def test_time_grows_with_epochs_and_images(make_plan, finish):
    finish(make_plan().runs[0])
    longer = make_plan(epochs=8).runs[0].config
    assert read_paces().seconds_of(longer, SIZES) == pytest.approx(8 * 12 + 8)
    assert read_paces().seconds_of(longer, replace(SIZES, train=200)) == pytest.approx(8 * 22 + 8)


def test_of_several_finished_runs_the_median_counts(make_plan, finish):
    runs = make_plan().runs
    for run, training in zip(runs, (10.0, 11.0, 100.0), strict=False):
        finish(run, training=training)
    assert read_paces().seconds_of(runs[3].config, SIZES) == pytest.approx(4 * 13 + 8)


@pytest.mark.parametrize("elsewhere", [{"device": "NVIDIA H200"}, {"threads": 64}, {"host": "another"}])
def test_runs_from_elsewhere_tell_nothing(make_plan, finish, elsewhere):
    first, second, *_ = make_plan().runs
    finish(first, **elsewhere)
    assert read_paces().seconds_of(second.config, SIZES) is None


def test_folders_that_do_not_tell_are_passed_over(make_plan, finish):
    taken_over, old, torn, failed = (folder_of(run) for run in make_plan().runs)
    for run in make_plan().runs:
        finish(run)
    taken_over.write("state", {"state": "finished", "started": 0.0, "ended": 3.0})  # faster than its own epochs
    (old.path / "settings.yaml").write_text("model: {name: gone}\n")
    (torn.path / "data.json").unlink()
    failed.set_state("failed", "because")
    assert read_paces().finished == {}


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("size", [0, -1])
def test_a_damaged_number_of_images_tells_nothing(make_plan, finish, part, size):
    run = make_plan().runs[0]
    finish(run)
    data = folder_of(run).read("data")
    folder_of(run).write("data", data | {"sizes": data["sizes"] | {part: size}})
    assert read_pace(folder_of(run)) is None


def test_measurements_are_kept_and_finished_runs_go_first(make_plan, finish):
    first, second, *_ = make_plan().runs
    kind = kind_of(first.config)
    start_attempt(first, "float32")
    keep_timing(KIND, PACE)
    keep_timing(kind, replace(PACE, fixed=1.0))
    keep_timing(kind, PACE)
    assert read_timings() == {KIND: PACE, kind: PACE}
    measured = 4 * (100 * 1.0 + 20 * 0.5) + 60 * 0.25 + 5.0
    assert read_paces().seconds_of(second.config, SIZES) == measured
    finish(first)
    assert read_paces().seconds_of(second.config, SIZES) == pytest.approx(4 * 12 + 8)


@pytest.mark.parametrize("content", ["", "torn", json.dumps({"timings": [{"kind": {"unknown": 1}, "pace": {}}]})])
def test_measurements_that_cannot_be_read_are_none(make_plan, content):
    make_plan()
    folders.RUNS.mkdir()
    (folders.RUNS / "timings.json").write_text(content)
    assert read_timings() == {}


def test_a_training_that_arms_share_counts_once(make_plan, finish):
    arms = {"chosen": {"evaluation.threshold": "validation"}, "fixed": {"evaluation.threshold": 0.4}}
    plan = make_plan(factor="evaluation.threshold", arms=arms, hypotheses=None)
    chosen_1, fixed_1, chosen_2, fixed_2 = plan.runs
    finish(chosen_1)
    assert finished_trainings() == {chosen_1.training_fingerprint}
    seconds = seconds_of_each([fixed_1, chosen_2, fixed_2], read_paces(), lambda config: SIZES, finished_trainings())
    assert seconds == {
        fixed_1.fingerprint: pytest.approx(8),
        chosen_2.fingerprint: pytest.approx(4 * 12 + 8),
        fixed_2.fingerprint: pytest.approx(8),
    }
