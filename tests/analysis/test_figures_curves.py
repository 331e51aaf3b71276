import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.figures import arm_looks, look, plot_curves
from analysis.figures.curves import curves_picture, value_limits
from analysis.figures.output import LeftOutError, Subject
from tests.analysis.figure_frames import ARMS, CONTEXT, line_of, make_definition, make_epochs, make_runs

LOSS, DICE = "train/loss", "val/dice_per_image"


def draw(epochs, runs, metric=LOSS, looks=None):
    axes = Figure().subplots()
    plot_curves(axes, epochs, runs, metric, looks or arm_looks(ARMS))
    return axes


def spoil(epochs, arm, seed, metric, value, after=2):
    """The run's values from the epoch `after` on."""
    mine = (epochs["arm"] == arm) & (epochs["seed"] == seed) & (epochs["metric"] == metric) & (epochs["epoch"] >= after)
    return epochs.assign(value=epochs["value"].mask(mine, value))


def test_the_thick_line_is_the_mean_over_seeds():
    axes = draw(make_epochs(), make_runs())
    fast, slow = line_of(axes, "fast"), line_of(axes, "slow")
    # 1 / epoch, and a tenth of seeds 1, 2, 3 on top.
    assert fast.get_xdata() == pytest.approx([1, 2, 3, 4])
    assert fast.get_ydata() == pytest.approx([1.2, 0.7, 1 / 3 + 0.2, 0.45])
    assert slow.get_ydata() == pytest.approx([2.2, 1.7, 4 / 3 + 0.2, 1.45])


def test_the_band_reaches_from_the_lowest_seed_to_the_highest():
    axes = draw(make_epochs(), make_runs())
    band = axes.collections[0].get_paths()[0].vertices
    at_epoch_2 = band[band[:, 0] == 2, 1]
    assert (at_epoch_2.min(), at_epoch_2.max()) == pytest.approx((0.6, 0.8))


def test_every_seed_is_a_thin_line_in_its_arms_colour():
    axes = draw(make_epochs(), make_runs())
    thin = [line for line in axes.lines if line.get_linewidth() == 0.5]
    assert [line.get_color() for line in thin] == [look(0).colour] * 3 + [look(1).colour] * 3
    assert thin[2].get_ydata() == pytest.approx([1.3, 0.8, 1 / 3 + 0.3, 0.55])


def test_one_seed_has_no_band():
    axes = draw(make_epochs(seeds=(1,)), make_runs(seeds=(1,)))
    assert len(axes.collections) == 0
    assert line_of(axes, "fast").get_ydata() == pytest.approx([1.1, 0.6, 1 / 3 + 0.1, 0.35])


def test_an_unfinished_run_is_dotted_and_not_in_the_mean():
    epochs = make_epochs()
    ended = (epochs["arm"] == "fast") & (epochs["seed"] == 3) & (epochs["epoch"] > 2)
    axes = draw(epochs[~ended], make_runs(unfinished={("fast", 3): "failed"}))
    assert line_of(axes, "fast").get_ydata() == pytest.approx([1.15, 0.65, 1 / 3 + 0.15, 0.4])
    (dotted,) = [line for line in axes.lines if line.get_linestyle() == ":" and line.get_linewidth() < 1]
    assert dotted.get_ydata() == pytest.approx([1.3, 0.8])
    (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == pytest.approx((2, 0.8))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_diverged_run_leaves_the_axes_as_they_are(value):
    runs = make_runs(unfinished={("slow", 3): "diverged"})
    whole = draw(make_epochs(), runs).get_ylim()
    epochs = spoil(make_epochs(), "slow", 3, LOSS, value)
    axes = draw(epochs, runs)
    assert axes.get_ylim() == pytest.approx(whole)
    (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert list(cross.get_xdata()) == [1]


def test_a_gap_in_a_finished_run_is_left_out_of_the_mean():
    axes = draw(spoil(make_epochs(), "fast", 3, LOSS, np.nan, after=4), make_runs())
    assert line_of(axes, "fast").get_ydata()[3] == pytest.approx(0.4)


def test_one_epoch_is_a_marker_with_a_whole_number_below():
    axes = draw(make_epochs(num_epochs=1), make_runs())
    assert line_of(axes, "fast").get_marker() == "o"
    assert [tick for tick in axes.get_xticks() if 0.5 < tick < 1.5] == [1]
    assert axes.get_xlim() == (0.5, 1.5)


def test_epochs_are_whole_numbers():
    assert all(float(tick).is_integer() for tick in draw(make_epochs(), make_runs()).get_xticks())


@pytest.mark.parametrize(
    ("inside", "beside", "limits"),
    [
        ([0.0, 1.0], [], (-0.05, 1.05)),
        ([0.0, 1.0], [1.5, 9.0, -3.0], (-0.075, 1.575)),  # what lies within the height above counts, the rest does not
        ([np.nan, np.inf], [np.nan], (0.0, 1.0)),
        ([2.0], [], (1.99, 2.01)),
    ],
)
def test_limits_follow_the_finished_runs(inside, beside, limits):
    assert value_limits(np.array(inside), np.array(beside)) == pytest.approx(limits)


def test_limits_without_a_finished_run_leave_out_the_extremes():
    low, high = value_limits(np.array([]), np.array([*np.linspace(0, 1, 99), 1e30]))
    assert -0.1 < low < 0
    assert 1 < high < 1.2


def test_the_axes_say_what_they_are():
    axes = draw(make_epochs(), make_runs(), DICE)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "validation per-image Dice")


def test_a_picture_of_some_arms_keeps_their_colours_and_says_n_and_the_band():
    definition = make_definition(arms=("fast", "middle", "slow"))
    arms = tuple(definition.arms)
    subject = Subject(definition, make_runs(arms, unfinished={("slow", 2): "diverged"}), CONTEXT)
    picture = curves_picture(subject, make_epochs(arms), LOSS, "fig08_small_loss", ["fast", "slow"])
    axes = picture.figure.axes[0]
    assert line_of(axes, "slow").get_color() == look(2).colour
    assert "middle" not in [line.get_label() for line in axes.lines]
    assert "bands: from the lowest to the highest (no interval)" in picture.caption
    assert "n = 2 to 3 seeds an arm; without slow, seed 2 (diverged)." in picture.caption
    assert "1 unfinished run, in neither mean nor band" in picture.caption
    assert picture.caption.endswith(f"{CONTEXT}.")


def test_a_picture_without_any_value_is_left_out():
    subject = Subject(make_definition(), make_runs(), CONTEXT)
    with pytest.raises(LeftOutError, match="no run has epochs with train/loss"):
        curves_picture(subject, pd.DataFrame(columns=make_epochs().columns), LOSS, "x", ARMS)


def test_curves_that_are_left_out_name_their_arms_where_others_have_epochs():
    subject = Subject(make_definition(), make_runs(), CONTEXT)
    with pytest.raises(LeftOutError, match=r"^no run of slow has epochs with train/loss$"):
        curves_picture(subject, make_epochs(("fast",)), LOSS, "x", ["slow"])
