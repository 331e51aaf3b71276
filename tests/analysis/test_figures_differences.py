import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.definition import Hypothesis
from analysis.figures import plot_differences
from analysis.figures.differences import axis_limits, differences_picture, panels
from analysis.figures.output import LeftOutError, Subject
from analysis.figures.style import INK
from analysis.metrics import metric_of
from analysis.verdicts import Verdict, judge
from tests.analysis.figure_frames import CONTEXT, make_definition, make_runs

DICE, TIME = "test/dice_per_image", "train_seconds"


def make_verdict(number=1, metric=DICE, ratio=False, same=False, **changes):
    """Advantages of 1, 2, 3 points around a margin of 0.5."""
    verdict = Verdict(
        number=number,
        hypothesis=Hypothesis("a claim", "fast", "slow", metric, 0.005, same=same, ratio=ratio),
        metric=metric_of(metric),
        verdict="inconclusive",
        seeds=(1, 2, 3),
        values=((0.91, 0.90), (0.92, 0.90), (0.93, 0.90)),
        advantages=(1.0, 2.0, 3.0),
        estimate=2.0,
        interval=(0.5, 3.5),
        verdict_interval=(0.0, 4.0),
        level=0.975,
        margin=0.5,
        sign_flip_p=0.25,
        seeds_needed=(4, 9),
        sentence="",
        notes=(),
    )
    return dataclasses.replace(verdict, **changes)


def draw(*verdicts):
    axes = Figure().subplots()
    plot_differences(axes, verdicts)
    return axes


def bars(axes):
    """Ends and width of every horizontal bar."""
    return [(*bar.get_segments()[0][:, 0], bar.get_linewidths()[0]) for bar in axes.collections]


def test_a_row_shows_seeds_mean_both_intervals_and_the_margin():
    axes = draw(make_verdict())
    (dots,) = [line for line in axes.lines if line.get_marker() == "o"]
    (mean,) = [line for line in axes.lines if line.get_marker() == "D"]
    assert list(dots.get_xdata()) == [1, 2, 3]
    assert dots.get_color() == INK  # colours stand for arms
    assert list(mean.get_xdata()) == [2]
    thin, thick = sorted(bars(axes), key=lambda bar: bar[2])
    assert thin[:2] == (0.0, 4.0)
    assert thick[:2] == (0.5, 3.5)
    assert thick[2] > 2 * thin[2]
    (margin,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert (margin.get_x(), margin.get_x() + margin.get_width()) == (-0.5, 0.5)
    assert 0.0 in [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]


def test_the_row_is_named_and_the_verdict_stands_at_its_right():
    axes = draw(make_verdict(verdict="supported"), make_verdict(2, same=True))
    assert axes.get_yticklabels()[0].get_text() == "1. fast over slow\ntest per-image Dice"
    assert axes.get_yticklabels()[1].get_text().startswith("2. fast against slow")
    assert [text.get_text() for text in axes.texts] == ["supported", "inconclusive"]
    assert axes.get_xlabel() == "advantage (points)"


def test_ratios_are_logarithmic_with_the_margin_around_one():
    ratio = {"advantages": (2.0, 4.0), "estimate": 8**0.5, "interval": (1.0, 8.0), "verdict_interval": (0.5, 16.0)}
    axes = draw(make_verdict(metric=TIME, ratio=True, margin=2.0, **ratio))
    assert axes.get_xscale() == "log"
    (margin,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert (margin.get_x(), margin.get_x() + margin.get_width()) == pytest.approx((0.5, 2.0))
    assert axes.get_xlabel() == "advantage (ratio)"
    low, high = axes.get_xlim()
    assert low < 0.5
    # The seeds and margins span log 1/2 to log 4, three octaves; the interval adds three at most, then the rim.
    assert 16 < high < 45


def test_an_interval_that_leaves_the_axis_ends_there_in_an_arrowhead():
    axes = draw(make_verdict(verdict_interval=(-1000.0, 1000.0)))
    low, high = axes.get_xlim()
    # Seeds, zero and margins span -0.5 to 3: 3.5 more on either side.
    assert (low, high) == pytest.approx((-4 - 0.525, 6.5 + 0.525))
    assert {line.get_marker(): line.get_xdata()[0] for line in axes.lines if line.get_marker() in "<>"} == {
        "<": low,
        ">": high,
    }
    assert max(bar[1] for bar in bars(axes)) == high


def test_one_seed_is_a_dot_without_interval():
    axes = draw(make_verdict(advantages=(1.0,), estimate=1.0, interval=None, verdict_interval=None))
    assert bars(axes) == []
    assert [line.get_marker() for line in axes.lines if line.get_marker() in "oD"] == ["o", "D"]


NOTHING = {"advantages": (), "estimate": None, "interval": None, "verdict_interval": None, "seeds": ()}


def test_values_that_are_not_finite_do_not_spoil_the_axis():
    none = make_verdict(**NOTHING)
    broken = make_verdict(
        2, advantages=(np.nan, 1.0), estimate=np.nan, interval=(np.nan, np.inf), verdict_interval=None
    )
    axes = draw(none, broken)
    assert "nothing to compare yet" in [text.get_text() for text in axes.texts]
    assert np.isfinite(axes.get_xlim()).all()
    assert axis_limits([none]) == pytest.approx((-0.55, 0.55))


def reason(first, second, metric=DICE, ratio=False, **columns):
    """What stands in the row of a claim.  Arms: slow without compute, idle and ill without finished runs, late."""
    runs = make_runs(("fast", "slow", "idle", "late"), unfinished={("idle", seed): "failed" for seed in (1, 2, 3)})
    runs["seed"] += 10 * (runs["arm"] == "late")
    runs = runs.assign(gflops=runs["gflops"].where(runs["arm"] != "slow"), **columns)
    claim = Hypothesis("a claim", first, second, metric, 0.01, ratio=ratio)
    axes = draw(*judge(make_definition(("fast", "slow", "idle", "ill", "late"), hypotheses=(claim,)), runs))
    return [text.get_text().replace("\n", " ") for text in axes.texts if text.get_text() != "inconclusive"]


def test_a_row_without_a_difference_says_why():
    assert reason("fast", "slow") == []
    assert reason("fast", "idle") == ["idle has no finished run"]
    assert reason("ill", "fast") == ["ill has no finished run"]
    assert reason("idle", "ill") == ["idle and ill have no finished run"]
    assert reason("fast", "late") == ["the arms have no seed in common"]
    assert reason("fast", "slow", "val/loss") == ["no run has val/loss"]
    assert reason("fast", "slow", "gflops") == ["no finished run of slow has a number"]
    alone = pd.Series([1.0] * 3 + [np.nan] * 9)
    nobody = reason("slow", "late", "train/loss", **{"train/loss": alone})
    assert nobody == ["no finished run of slow and late has a number"]
    assert reason("fast", "slow", "train/loss", ratio=True, **{"train/loss": -1.0}) == ["a ratio needs values above 0"]
    machines = pd.Series(["cpu"] * 3 + ["cuda"] * 9)
    assert reason("fast", "slow", "train_seconds", device=machines) == ["the runs were not computed alike"]


def test_a_long_reason_is_wrapped():
    arm = "an arm with a rather long name that goes on and on and on"
    claim = Hypothesis("a claim", "fast", arm, DICE, 0.01)
    axes = draw(*judge(make_definition(("fast", arm), hypotheses=(claim,)), make_runs(("fast",))))
    assert max(len(line) for line in axes.texts[0].get_text().split("\n")) <= 46


@pytest.mark.parametrize(("ratio", "limits"), [(False, (-0.55, 0.55)), (True, (np.exp(-0.55), np.exp(0.55)))])
def test_a_margin_of_zero_before_anything_has_finished_has_an_axis_of_some_width(ratio, limits):
    margin = 1.0 if ratio else 0.0
    axes = draw(make_verdict(ratio=ratio, margin=margin, **NOTHING))  # matplotlib's warning would be an error
    assert axes.get_xlim() == pytest.approx(limits)


def test_rows_of_nothing_but_zeros_share_an_axis_with_those_of_any_size():
    zeros = [make_verdict(number, margin=0.0, **NOTHING) for number in (1, 3)]
    assert [[verdict.number for verdict in rows] for _, rows in panels(zeros)] == [[1, 3]]
    rows = [*zeros, make_verdict(2), make_verdict(4, advantages=(40.0,))]
    assert [[verdict.number for verdict in rows] for _, rows in panels(rows)] == [[1, 2, 3], [4]]


def test_rows_share_an_axis_by_unit_and_size():
    small, large = make_verdict(1), make_verdict(2, advantages=(38.0, 40.0, 42.0))
    close = make_verdict(3, advantages=(4.0,))
    seconds, times = make_verdict(4, TIME), make_verdict(5, TIME, ratio=True, margin=2.0)
    found = [
        (unit, [verdict.number for verdict in rows]) for unit, rows in panels([small, large, close, seconds, times])
    ]
    assert found == [("points", [1, 3]), ("points", [2]), ("s", [4]), ("ratio", [5])]


def test_a_metric_without_unit_is_an_axis_of_its_own():
    assert [unit for unit, _ in panels([make_verdict(1, "train/loss"), make_verdict(2)])] == ["training loss", "points"]


def test_the_picture_says_level_and_n():
    subject = Subject(make_definition(), make_runs(), CONTEXT)
    picture = differences_picture(subject, [make_verdict(1), make_verdict(2, TIME, seeds=(1, 2))], "small_differences")
    assert len(picture.figure.axes) == 2
    assert "95 % t interval" in picture.caption
    assert "97.5 % for 2 hypotheses" in picture.caption
    assert "n = 2 to 3 seeds a comparison." in picture.caption


def test_no_hypothesis_no_picture():
    with pytest.raises(LeftOutError, match="declares no hypothesis"):
        differences_picture(Subject(make_definition(), make_runs(), CONTEXT), [], "small_differences")
