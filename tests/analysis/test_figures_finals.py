import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.figures import arm_looks, look, plot_cost, plot_finals, training_compute, training_time
from analysis.figures.costs import compute_picture, time_picture
from analysis.figures.finals import TABLE, final_picture, table_picture, table_rows
from analysis.figures.output import LeftOutError, Subject
from analysis.figures.pictures import make_subject
from tests.analysis.figure_frames import ARMS, CONTEXT, line_of, make_definition, make_epochs, make_runs

DICE = "test/dice_per_image"


def draw_finals(runs, **options):
    axes = Figure().subplots()
    plot_finals(axes, runs, DICE, arm_looks(ARMS), **options)
    return axes


def markers(axes, position):
    """The line that holds the markers of the arm at that position."""
    (found,) = [line for line in axes.lines if line.get_color() == look(position).colour]
    return found


def test_every_seed_of_an_arm_is_a_marker_and_the_bar_its_mean():
    axes = draw_finals(make_runs())
    assert sorted(markers(axes, 0).get_xdata()) == pytest.approx([0.90, 0.91, 0.92])
    assert sorted(markers(axes, 1).get_xdata()) == pytest.approx([0.80, 0.81, 0.82])
    bars = [bar.get_segments()[0] for bar in axes.collections]
    assert [bar[0][0] for bar in bars] == pytest.approx([0.91, 0.81])
    assert [bar[:, 1].mean() for bar in bars] == pytest.approx([0, 1])


def test_rows_are_named_from_the_top_down():
    axes = draw_finals(make_runs())
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fast", "slow"]
    assert axes.yaxis_inverted()


def test_a_seed_stands_at_the_same_height_in_every_row_and_grey_lines_join_it():
    axes = draw_finals(make_runs())
    joins = [line for line in axes.lines if line.get_color() == "#858585"]
    assert [list(line.get_xdata()) for line in joins] == [
        pytest.approx([0.89 + s / 100, 0.79 + s / 100]) for s in (1, 2, 3)
    ]
    assert [np.diff(line.get_ydata())[0] for line in joins] == pytest.approx([1, 1, 1])


def test_a_run_that_did_not_finish_is_no_marker_whatever_it_holds():
    runs = make_runs()
    runs.loc[0, "state"] = "failed"
    assert sorted(markers(draw_finals(runs), 0).get_xdata()) == pytest.approx([0.91, 0.92])


def test_the_axis_can_be_scaled_and_named():
    axes = draw_finals(make_runs(), scale=100.0, label="points")
    assert max(markers(axes, 0).get_xdata()) == pytest.approx(92)
    assert axes.get_xlabel() == "points"


def test_the_picture_names_the_runs_that_are_not_in_it():
    runs = make_runs(unfinished={("slow", 3): "failed"})
    runs.loc[0, DICE] = np.nan
    picture = final_picture(Subject(make_definition(), runs, CONTEXT), "small_test_dice")
    assert "n = 2 seeds an arm; without fast, seed 1 (no value); slow, seed 3 (failed)." in picture.caption
    assert "No interval is drawn" in picture.caption


def test_no_finished_run_no_picture():
    runs = make_runs(unfinished={(arm, seed): "failed" for arm in ARMS for seed in (1, 2, 3)})
    subject = make_subject(make_definition(), runs, CONTEXT)
    with pytest.raises(LeftOutError, match="no finished run has test/dice_per_image"):
        final_picture(subject, "small_test_dice")


def test_the_table_has_mean_deviation_and_each_seed():
    runs = make_runs()
    rows = dict(table_rows(runs[runs["arm"] == "fast"], TABLE))
    assert rows["mean"] == ["0.9100", "0.9300", "0.9200"]
    assert rows["standard deviation"] == ["0.0100", "0.0100", "0.0100"]
    assert rows["seed 3"] == ["0.9200", "0.9400", "0.9300"]


def test_a_table_of_one_seed_has_no_deviation_and_marks_what_is_missing():
    runs = make_runs(seeds=(1,)).assign(**{"test_at_0.4/dice_batch": np.nan})
    assert dict(table_rows(runs[runs["arm"] == "fast"], TABLE)) == {
        "mean": ["0.9000", "0.9200", "–"],
        "seed 1": ["0.9000", "0.9200", "–"],
    }


def test_the_tables_picture_prints_the_numbers_of_its_arms_alone():
    picture = table_picture(Subject(make_definition(), make_runs(), CONTEXT), "fig05_small_test", ["slow"])
    texts = [text.get_text() for text in picture.figure.axes[0].texts]
    assert {"slow", "0.8100", "seed 2", "per-image\nDice"} <= set(texts)
    assert "fast" not in texts


def test_a_table_without_results_names_its_arms_where_others_have_some():
    runs = make_runs(unfinished={("slow", seed): "failed" for seed in (1, 2, 3)})
    subject = make_subject(make_definition(), runs, CONTEXT)
    assert "fast" in [text.get_text() for text in table_picture(subject, "x", ARMS).figure.axes[0].texts]
    with pytest.raises(LeftOutError, match=r"^no finished run of slow has test results$"):
        table_picture(subject, "x", ["slow"])
    with pytest.raises(LeftOutError, match=r"^no finished run of slow or gone has test results$"):
        table_picture(subject, "x", ["slow", "gone"])
    none = make_subject(make_definition(), runs[runs["arm"] == "slow"], CONTEXT)
    with pytest.raises(LeftOutError, match=r"^no finished run has test results$"):
        table_picture(none, "x", ARMS)


def test_a_cost_stands_below_the_dice_of_every_seed_and_their_mean():
    axes = Figure().subplots()
    runs = make_runs()
    plot_cost(axes, runs, *training_time(runs)[:1], arm_looks(ARMS), "training time (min)")
    mean = line_of(axes, "fast")
    assert (mean.get_xdata()[0], mean.get_ydata()[0]) == pytest.approx((5, 0.91))
    seeds = axes.lines[0]
    assert list(seeds.get_xdata()) == pytest.approx([4, 5, 6])
    assert list(seeds.get_ydata()) == pytest.approx([0.90, 0.91, 0.92])
    assert axes.get_xlim()[0] == 0


@pytest.mark.parametrize(
    ("seconds", "value", "label"),
    [(90, 90, "training time (s)"), (600, 10, "training time (min)"), (36_000, 10, "training time (h)")],
)
def test_times_are_in_a_unit_that_suits_them(seconds, value, label):
    values, found = training_time(pd.DataFrame({"train_seconds": [float(seconds)]}))
    assert (values[0], found) == (pytest.approx(value), label)


def test_training_compute_is_three_forward_passes_an_image_and_epoch():
    values, label = training_compute(make_runs(), make_epochs())
    # 3 x 2 GFLOPs x 1,000 images x 4 epochs = 24 TFLOPs; the other arm has 3 GFLOPs.
    assert list(values) == pytest.approx([24, 24, 24, 36, 36, 36])
    assert label == "compute of the training (TFLOPs)"


def test_large_compute_is_in_peta():
    values, label = training_compute(make_runs().assign(num_train=1e6), make_epochs())
    assert (values[0], label) == (pytest.approx(24), "compute of the training (PFLOPs)")


def test_compute_of_one_image_where_the_training_images_are_not_known():
    runs = make_runs()
    runs.loc[1, "num_train"] = np.nan
    values, label = training_compute(runs, make_epochs())
    assert list(values) == [2, 2, 2, 3, 3, 3]
    assert label == "compute of an image, forward (GFLOPs)"
    picture = compute_picture(Subject(make_definition(), runs, CONTEXT), make_epochs(), "small_compute")
    assert "the number of training images or of epochs is not known" in picture.caption


def test_the_time_of_different_machines_is_pointed_out():
    runs = make_runs()
    assert "do not compare" not in time_picture(Subject(make_definition(), runs, CONTEXT), "small_time").caption
    runs.loc[0, "device"] = "cuda"
    caption = time_picture(Subject(make_definition(), runs, CONTEXT), "small_time").caption
    assert "2 different devices or machines, so that their times do not compare" in caption
