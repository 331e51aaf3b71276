import io
import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from analysis.figures import arm_looks, look, plot_changes, styled
from analysis.figures import style as look_of_all
from tests.analysis.figure_frames import ARMS, make_epochs, make_runs

NUM_LOOKS = 36


def grey(colour):
    """Luminance of a colour (Rec. 709), as a greyscale print shows it."""
    red, green, blue = to_rgb(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_any_two_of_colour_line_and_marker_tell_36_arms_apart():
    looks = [look(position) for position in range(NUM_LOOKS)]
    assert len({(one.colour, one.line) for one in looks}) == NUM_LOOKS
    assert len({(one.colour, one.marker) for one in looks}) == NUM_LOOKS
    assert len({(one.line, one.marker) for one in looks}) == NUM_LOOKS


def test_the_first_six_arms_differ_in_each_of_colour_line_and_marker():
    looks = [look(position) for position in range(6)]
    assert (
        len({one.colour for one in looks})
        == len({one.line for one in looks})
        == len({one.marker for one in looks})
        == 6
    )


def test_what_greyscale_makes_alike_differs_in_line_and_marker():
    looks = [look(position) for position in range(6)]
    alike = [(a, b) for a, b in itertools.combinations(looks, 2) if abs(grey(a.colour) - grey(b.colour)) < 0.1]
    assert alike  # Okabe and Ito's green and vermillion are
    assert all(a.line != b.line and a.marker != b.marker for a, b in alike)


def test_the_37th_arm_looks_like_the_first():
    assert look(NUM_LOOKS) == look(0)


def test_an_arm_has_the_look_of_its_position():
    assert arm_looks(["a", "b"]) == {"a": look(0), "b": look(1)}


def test_settings_hold_inside_and_the_users_own_are_back_afterwards():
    with matplotlib.rc_context({"font.size": 31.0, "lines.linewidth": 9.0}):
        before = dict(matplotlib.rcParams)
        with styled():
            assert matplotlib.rcParams["font.size"] == 7
            assert matplotlib.rcParams["pdf.fonttype"] == 42
            assert matplotlib.rcParams["lines.linewidth"] == matplotlib.rcParamsDefault["lines.linewidth"]
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("names", "num_columns"),
    [(["a", "b", "c"], 3), (["a name of twenty words" * 2, "b"], 1), (["a" * 30, "b" * 30], 1), (["only"], 1)],
)
def test_a_legend_has_as_many_columns_as_fit(names, num_columns):
    figure = look_of_all.new_figure(look_of_all.COLUMN, 2.0)
    figure.subplots()
    look_of_all.add_legend(figure, arm_looks(names))
    assert figure.legends[0]._ncols == num_columns
    assert figure.get_figheight() > 2.0


@pytest.mark.parametrize("num_arms", [1, 6, 36])
def test_a_legend_stays_inside_the_figure_and_off_the_axes(num_arms):
    with styled():
        figure = look_of_all.new_figure(look_of_all.COLUMN, 2.0)
        axes = figure.subplots()
        look_of_all.add_legend(figure, arm_looks([f"exponential 0.{arm:03d} of many" for arm in range(num_arms)]))
        look_of_all.settle(figure)
        (legend,) = figure.legends
        box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y1 <= figure.bbox.height
    assert box.y0 >= axes.get_window_extent().y1


def test_an_axis_of_logarithms_is_written_in_plain_numbers():
    axes = Figure().subplots()
    axes.set_xscale("log")
    axes.set_xlim(0.4, 8)
    look_of_all.write_log_axis(axes.xaxis, 0.4, 8)
    axes.figure.draw_without_rendering()
    assert {"0.5", "1", "2", "5"} <= {label.get_text() for label in axes.get_xticklabels()}


def inked(figure, dpi):
    """Which pixels of a saved figure are dark."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, dpi=dpi, format="png")
    return np.asarray(Image.open(buffer).convert("L")) < 200


def test_a_label_that_is_longer_than_its_axis_ends_inside_the_figure():
    with styled():
        figure = look_of_all.new_figure(look_of_all.COLUMN, 2.0)
        axes = figure.subplots()
        look_of_all.label_rows(axes, ["a name that takes half of the figure", "b"])
        axes.set_xlabel("a label of an axis that is much longer than the axis")
        look_of_all.settle(figure)
        box = axes.xaxis.label.get_window_extent()
    assert axes.xaxis.label.get_horizontalalignment() == "right"
    assert 0 < box.x0 < box.x1 <= figure.bbox.width


def test_text_is_as_wide_at_every_resolution():
    with styled():
        widths = []
        for dpi in (72, 100, 150, 200):
            text = Figure(dpi=dpi).text(0, 0, "meadow_hound (20)")
            widths.append(text.get_window_extent().width / dpi)
    assert max(widths) - min(widths) < 0.02


def test_wide_characters_are_wrapped_at_half_as_many():
    assert look_of_all.wrap("余弦減衰" * 3, 8) == "余弦減衰\n余弦減衰\n余弦減衰"
    assert look_of_all.wrap("余" * 3, 1) == "余\n余\n余"
    assert look_of_all.wrap("Ωμέγα a") == "Ωμέγα a"
    assert look_of_all.wrap("") == ""


def test_changes_that_are_all_but_equal_stand_inside_an_axis_of_some_height():
    axes = Figure().subplots()
    plot_changes(axes, make_epochs(), make_runs(), arm_looks(ARMS))
    low, high = axes.get_ylim()
    assert low < 9.5 < 10.5 < high
    axes.figure.draw_without_rendering()
    ticks = [float(label.get_text()) for label in axes.get_yticklabels()]
    assert ticks == pytest.approx(list(axes.get_yticks()))
    assert any(low < tick < high for tick in ticks)
