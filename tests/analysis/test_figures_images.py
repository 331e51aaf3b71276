import io

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from analysis.figures import arm_looks, look, plot_breeds, plot_per_image, plot_thresholds
from analysis.figures.breeds import MOST_BREEDS, breed_means, breed_order, breeds_picture, shown_breeds
from analysis.figures.images import per_image_picture, sheet_picture, stretch, threshold_picture, unstretch
from analysis.figures.output import LeftOutError, Subject
from tests.analysis.figure_frames import ARMS, CONTEXT, line_of, make_curves, make_definition, make_images, make_runs


def subject(runs=None):
    return Subject(make_definition(), make_runs() if runs is None else runs, CONTEXT)


def png(width=20, height=10, colour=(255, 0, 0)):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_threshold_curve_is_the_mean_over_seeds():
    axes = Figure().subplots()
    plot_thresholds(axes, make_curves(), make_runs(), arm_looks(ARMS), 0.4)
    mean = line_of(axes, "fast")
    assert list(mean.get_xdata()) == pytest.approx([0.2, 0.4, 0.6])
    assert list(mean.get_ydata()) == pytest.approx([0.68, 0.88, 0.68])


def test_each_runs_threshold_is_marked_on_its_own_curve():
    axes = Figure().subplots()
    plot_thresholds(axes, make_curves(), make_runs(unfinished={("slow", 3): "failed"}), arm_looks(ARMS), 0.4)
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == look(1).marker]
    # The arm's threshold of 0.5 lies half way down from 0.9 - seed / 100 to 0.2 less.
    assert marks == [pytest.approx((0.5, 0.79)), pytest.approx((0.5, 0.78))]


def test_the_reports_threshold_is_a_line_with_its_name():
    axes = Figure().subplots()
    plot_thresholds(axes, make_curves(), make_runs(), arm_looks(ARMS), 0.4)
    assert [line for line in axes.lines if list(line.get_xdata()) == [0.4, 0.4]]
    assert [text.get_text() for text in axes.texts] == ["report's 0.4"]


def test_curves_of_unfinished_runs_are_not_in_the_picture():
    runs = make_runs(unfinished={("fast", 1): "failed", ("fast", 2): "failed"})
    picture = threshold_picture(subject(runs), make_curves(), "small_threshold")
    assert max(line_of(picture.figure.axes[0], "fast").get_ydata()) == pytest.approx(0.87)


def test_boxes_show_median_and_middle_half_of_all_images_of_an_arm():
    axes = Figure().subplots()
    plot_per_image(axes, make_images(), arm_looks(ARMS))
    boxes = [collection for collection in axes.collections if not isinstance(collection, LineCollection)]
    widest = max(boxes[0].get_paths(), key=lambda path: np.ptp(path.vertices[:, 1]))
    # Dice of 0.1 to 1.0, thrice each: quartiles 0.3 and 0.8.
    assert widest.vertices[:, 0].min() == pytest.approx(0.3, abs=0.03)
    assert widest.vertices[:, 0].max() == pytest.approx(0.8, abs=0.03)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fast", "slow"]


def test_the_stretched_axis_goes_there_and_back_and_spreads_the_good_images():
    dice = np.array([0.0, 0.5, 0.9, 0.98, 1.0])
    assert unstretch(stretch(dice)) == pytest.approx(dice)
    place = stretch(dice)
    assert place[3] - place[2] > place[1] - place[0]


def test_the_distributions_picture_says_how_many_images():
    caption = per_image_picture(subject(), make_images(), "small_per_image").caption
    assert "10 test images, all seeds together" in caption
    assert "n = 3 seeds an arm" in caption


def test_breeds_are_ordered_by_their_mean_over_arms():
    # Every second image: 0.1, 0.3 ... 0.9 are Abyssinian, 0.2 ... 1.0 are Sphynx.
    means = breed_means(make_images())
    assert breed_order(means) == ["Sphynx", "Abyssinian"]
    assert means.set_index(["breed", "arm", "seed"]).loc[("Sphynx", "slow", 2), "dice"] == pytest.approx(0.6)


def test_a_breeds_row_has_its_size_a_marker_an_arm_and_the_range_over_seeds():
    images = make_images()
    images.loc[(images["arm"] == "slow") & (images["seed"] == 1), "dice"] -= 0.1
    axes = Figure().subplots()
    plot_breeds(axes, images, arm_looks(ARMS))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Sphynx (5)", "Abyssinian (5)"]
    assert list(line_of(axes, "fast").get_xdata()) == pytest.approx([0.6, 0.5])
    assert list(line_of(axes, "slow").get_xdata()) == pytest.approx([0.6 - 0.1 / 3, 0.5 - 0.1 / 3])
    ranges = [lines for lines in axes.collections if isinstance(lines, LineCollection)]
    assert list(ranges[1].get_segments()[0][:, 0]) == pytest.approx([0.5, 0.6])


def test_of_very_many_breeds_the_easiest_and_the_hardest_are_shown():
    names = [f"breed {number}" for number in range(100)]
    rows, left_out = shown_breeds(names)
    assert (len(rows), left_out) == (MOST_BREEDS + 1, 60)
    assert (rows[0], rows[20], rows[-1]) == ("breed 0", None, "breed 99")
    assert shown_breeds(names[:MOST_BREEDS]) == (names[:MOST_BREEDS], 0)


@pytest.mark.parametrize(
    ("breeds", "reason"),
    [((), "the breeds of the test images are not known"), (("Sphynx",), "there is only one breed")],
)
def test_fewer_than_two_breeds_are_no_picture(breeds, reason):
    with pytest.raises(LeftOutError, match=reason):
        breeds_picture(subject(), make_images(breeds=breeds), "small_breeds")


def test_images_without_a_breed_are_counted():
    picture = breeds_picture(subject(), make_images(breeds=("Abyssinian", "Sphynx", None)), "small_breeds")
    assert "18 rows without a breed are left out." in picture.caption


def test_a_sheet_is_shown_as_it_is_and_says_whose_it_is():
    picture = sheet_picture(subject(), png(), "fast, seed 1", "the worst predictions", "small_worst")
    (image,) = picture.figure.axes[0].images
    assert image.get_array().shape == (10, 20, 3)
    assert tuple(image.get_array()[0, 0]) == (255, 0, 0)
    assert tuple(picture.figure.get_size_inches()) == pytest.approx((7.0, 3.5))
    assert picture.caption.startswith("The worst predictions of fast, seed 1.")


@pytest.mark.parametrize(
    ("content", "label", "reason"),
    [
        (None, "fast, seed 1", "the run of fast, seed 1 has kept no such sheet"),
        (None, "", "no run that it could show has finished with a test Dice"),
        (b"no picture", "fast, seed 1", "can be read"),
    ],
)
def test_a_sheet_that_is_missing_or_broken_is_left_out(content, label, reason):
    with pytest.raises(LeftOutError, match=reason):
        sheet_picture(subject(), content, label, "the worst predictions", "small_worst")
