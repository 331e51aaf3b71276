"""Exponents, axes and points of `benchmarks.growth`."""

from argparse import Namespace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest

from benchmarks import growth
from benchmarks.contest import Outcome, Work
from benchmarks.growth_curves import Curve, Point, describe, draw, draw_memory, draw_time, exponent, round_limits
from benchmarks.scores import Turn

# Time grows with the square root of the pixels, memory not at all.
CURVE = Curve(
    name="image size",
    work="pixels",
    cost="epoch",
    points=[Point(size, float(size**2), 0.02 * size, 1.5) for size in (64, 128, 256)],
    about="batch 8",
)
WORK = Work(
    model="resnet34_unet",
    root="",
    train=tuple(map(str, range(300))),
    validation=("300",),
    image_size=64,
    batch_size=8,
    epochs=1,
    workers=0,
    cache="",
)
ASKED = Namespace(sizes=[64, 128], images=[100, 300, 600], batches=[4, 8], epochs=3)


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_exponent_of_a_power_law():
    assert exponent([1, 4, 16], [3, 6, 12]) == pytest.approx(0.5)


def test_both_exponents_are_told():
    assert describe(CURVE) == (
        "image size (batch 8): with the pixels, time grows to the power of 0.50 and memory to that of 0.00"
    )


def test_one_point_has_no_exponent():
    assert describe(Curve("image size", "pixels", "epoch", CURVE.points[:1], "batch 8")) == "image size (batch 8)"


@pytest.mark.parametrize(
    ("values", "limits"),
    [([1.1, 1.9], (1, 2)), ([0.3, 60], (0.2, 100)), ([1, 2], (0.5, 5)), ([0.03, 0.04], (0.02, 0.05))],
)
def test_limits_are_labelled_numbers_around_all_values(values, limits):
    assert round_limits(values) == pytest.approx(limits)


def test_time_axis_has_labels_where_the_range_is_below_a_decade(axes):
    draw_time(axes, Curve("runs", "runs", "call", [Point(1, 1.0, 1.2, 1.0), Point(2, 1.1, 1.4, 1.0)], ""))
    axes.figure.canvas.draw()

    low, high = axes.get_ylim()
    shown = [
        label.get_text()
        for tick, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        if low <= tick <= high
    ]
    assert shown == ["1", "2"]


def test_reference_line_grows_as_the_work_does(axes):
    draw_time(axes, CURVE)

    assert list(axes.lines[1].get_ydata()) == pytest.approx([1.28, 4 * 1.28, 16 * 1.28])
    assert axes.get_ylim()[1] >= 16 * 1.28


def test_no_memory_point_touches_the_frame(axes):
    draw_memory(axes, CURVE)

    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 1.05 * 1.5


def test_figure_is_drawn(tmp_path):
    draw([CURVE, CURVE], tmp_path / "growth.png")

    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_numbers_of_images_that_the_data_does_not_have_are_left_out():
    sizes, images, batches = growth.make_series(ASKED, WORK, WORK)

    assert images.xs == (100, 300)
    assert (sizes.start.epochs, images.start.epochs, batches.start.epochs) == (3, 1, 3)


def test_batch_sizes_are_compared_by_the_step(monkeypatch):
    outcome = Outcome("float32", images=255, training=[100, 6, 7, 64])
    monkeypatch.setattr(growth, "take_turn", lambda name, work: Turn(name, outcome, 2.0))
    monkeypatch.setattr(growth, "suite", SimpleNamespace(load=lambda work, config: None, configure=lambda work: None))

    curve = growth.measure(growth.make_series(ASKED, WORK, WORK)[2])

    # The median epoch, 7 s, is of 64 and of 32 steps.
    assert [point.seconds for point in curve.points] == [7 / 64, 7 / 32]
    assert [point.work for point in curve.points] == [4, 8]
    assert curve.about == "64 x 64, 256 images; 3 timed epochs a point"
