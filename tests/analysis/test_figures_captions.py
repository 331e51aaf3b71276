"""What captions say is drawn is what is drawn."""

import numpy as np
import pandas as pd
import pytest

from analysis.figures import overall_pictures, validation_and_test
from analysis.figures.breeds import breeds_picture
from analysis.figures.costs import compute_picture
from analysis.figures.curves import curves_picture
from analysis.figures.differences import differences_picture
from analysis.figures.finals import table_picture
from analysis.figures.images import per_image_picture, threshold_picture
from analysis.figures.output import LeftOutError, Subject, absent_clause, seeds_sentence
from analysis.figures.overall import share_test_set, variation_picture
from tests.analysis.figure_frames import (
    ARMS,
    CONTEXT,
    make_curves,
    make_definition,
    make_epochs,
    make_images,
    make_runs,
)
from tests.analysis.test_figures_differences import make_verdict

LOST = [("slow", 1), ("slow", 2)]


def subject(runs=None):
    return Subject(make_definition(), make_runs() if runs is None else runs, CONTEXT)


def without(frame, lost=LOST):
    """A frame without the rows of some runs."""
    return frame[~pd.MultiIndex.from_frame(frame[["arm", "seed"]]).isin(lost)]


@pytest.mark.parametrize(
    ("make", "lacking"),
    [
        (lambda: threshold_picture(subject(), without(make_curves()), "x"), "no curve"),
        (lambda: per_image_picture(subject(), without(make_images()), "x"), "no table"),
        (lambda: breeds_picture(subject(), without(make_images()), "x"), "no table with breeds"),
        (lambda: curves_picture(subject(), without(make_epochs()), "train/loss", "x", ARMS), "no epochs"),
    ],
    ids=["threshold", "per image", "breeds", "curves"],
)
def test_n_counts_what_is_drawn_and_names_what_is_lost(make, lacking):
    expected = f"n = 1 to 3 seeds an arm; without slow, seeds 1, 2 ({lacking})."
    assert expected in make().caption


def test_values_that_are_not_there_are_not_counted():
    epochs = make_epochs()
    spoilt = epochs.assign(value=epochs["value"].mask((epochs["arm"] == "slow") & (epochs["seed"] == 3)))
    caption = curves_picture(subject(), spoilt, "train/loss", "x", ARMS).caption
    assert "n = 2 to 3 seeds an arm; without slow, seed 3 (no epochs)." in caption
    images = make_images()
    nothing = images.assign(dice=images["dice"].mask(images["seed"] == 3))
    assert "n = 2 seeds an arm; without fast, seed 3 (no table)" in per_image_picture(subject(), nothing, "x").caption
    with pytest.raises(LeftOutError, match="no finished run has a table"):
        per_image_picture(subject(), images.assign(dice=np.nan), "x")


def test_the_table_counts_the_runs_that_have_results():
    runs = make_runs()
    runs.loc[0, ["test/dice_per_image", "test/dice_dataset", "test_at_0.4/dice_batch"]] = np.nan
    assert (
        "n = 2 to 3 seeds an arm; without fast, seed 1 (no value)." in table_picture(subject(runs), "x", ARMS).caption
    )


def test_compute_counts_the_runs_that_have_both():
    runs = make_runs()
    runs.loc[0, "gflops"] = np.nan
    caption = compute_picture(subject(runs), make_epochs(), "x").caption
    assert "n = 2 to 3 seeds an arm; without fast, seed 1 (no value)." in caption


def test_both_sides_of_the_variation_have_an_n_where_they_differ():
    both = variation_picture(subject(), make_epochs(), "x").caption
    assert "Left: n" not in both
    caption = variation_picture(subject(), without(make_epochs()), "x").caption
    assert "Left: n = 3 seeds an arm. Right: n = 1 to 3 seeds an arm; without slow, seeds 1, 2 (no epochs)" in caption


def test_a_run_that_did_not_finish_is_named_with_its_state_even_where_it_is_drawn():
    runs = make_runs(unfinished={("slow", 3): "failed"})
    drawn = runs[runs["state"] == "finished"]
    assert seeds_sentence(runs, ARMS, drawn) == "n = 2 to 3 seeds an arm; without slow, seed 3 (failed)."
    assert seeds_sentence(runs, ["fast"], drawn) == "n = 3 seeds an arm."
    assert absent_clause(runs.iloc[:1], "no table") == "; without fast, seed 1 (no table)"


def test_curves_describe_bands_and_means_only_where_there_are_any():
    epochs, runs = make_epochs(seeds=(1,)), make_runs(seeds=(1,))
    single = curves_picture(subject(runs), epochs, "train/loss", "x", ARMS).caption
    assert "band" not in single
    assert "Thick lines" in single
    running = make_runs(seeds=(1,), unfinished={(arm, 1): "running" for arm in ARMS})
    unfinished = curves_picture(subject(running), epochs, "train/loss", "x", ARMS).caption
    assert "Thick lines" not in unfinished
    assert "2 unfinished runs" in unfinished


def test_the_share_of_images_that_are_dots_is_written_with_a_space():
    assert "the outermost 0.2 % of the images" in per_image_picture(subject(), make_images(), "x").caption


def test_runs_with_different_numbers_of_images_are_said_to_have_them():
    images = make_images()
    caption = per_image_picture(subject(), images.drop(images.index[:3]), "x").caption
    assert "7 to 10 test images" in caption


def test_differences_without_a_pair_describe_neither_dots_nor_bars():
    nothing = {"advantages": (), "estimate": None, "interval": None, "verdict_interval": None, "seeds": ()}
    caption = differences_picture(subject(), [make_verdict(**nothing)], "x").caption
    assert not [word for word in ("Dots", "Diamonds", "bars", "arrowhead", "ratios") if word in caption]
    assert "No interval is drawn" in caption
    assert "n = 0 seeds a comparison." in caption


def test_differences_of_one_seed_have_dots_and_no_bars():
    one = {"advantages": (1.0,), "estimate": 1.0, "interval": None, "verdict_interval": None, "seeds": (1,)}
    caption = differences_picture(subject(), [make_verdict(**one)], "x").caption
    assert "Dots" in caption
    assert "bars" not in caption
    assert "n = 1 seed a comparison." in caption


def test_arrowheads_and_ratios_are_described_where_there_are_some():
    assert "arrowhead" not in differences_picture(subject(), [make_verdict()], "x").caption
    wide = make_verdict(verdict_interval=(-1000.0, 1000.0))
    assert "An arrowhead: the interval goes on" in differences_picture(subject(), [wide], "x").caption
    ratio = make_verdict(ratio=True, margin=2.0)
    assert "of ratios, the geometric one" in differences_picture(subject(), [ratio], "x").caption


def caption_of(runs_of, epochs_of=None):
    (picture,), _ = overall_pictures(runs_of, CONTEXT, epochs_of)
    return picture.caption


def test_validation_is_of_the_last_epoch_for_the_runs_without_epochs_and_that_is_said():
    runs = make_runs()
    assert "after the best epoch, whose weights are tested;" in caption_of({"small": runs}, {"small": make_epochs()})
    partly = caption_of({"small": runs}, {"small": without(make_epochs())})
    assert "the best epoch, whose weights are tested (after the last for 2 runs without epochs);" in partly
    none = caption_of({"small": runs}, {"small": make_epochs().iloc[:0]})
    assert "after the last epoch;" in none


@pytest.mark.parametrize(
    ("data", "sizes", "shared"),
    [
        (["a"] * 6, [40] * 6, True),
        (["a"] * 5 + ["b"], [40] * 6, False),
        (["a"] * 5 + [""], [40] * 6, False),
        ([""] * 6, [40] * 6, False),
        (["a"] * 6, [40] * 5 + [41], False),
    ],
)
def test_one_test_set_is_claimed_only_where_the_data_agree(data, sizes, shared):
    runs = make_runs().assign(data_fingerprint=data, num_test=sizes)
    assert share_test_set(validation_and_test({"small": runs})) == shared
    caption = caption_of({"small": runs})
    assert ("All runs share one test set." in caption) == shared
    assert ("Not all runs are known to share one test set." in caption) != shared


def test_experiments_of_one_ablation_with_different_data_are_not_said_to_share_a_test_set():
    demo = make_runs().assign(data_fingerprint="demo")
    pets = make_runs().assign(data_fingerprint="pets", fingerprint=[f"pets {n}" for n in range(6)])
    caption = caption_of({"lr_sweep-demo": demo, "lr_sweep-pets64": pets})
    assert "n = 12 runs of lr_sweep-demo and lr_sweep-pets64" in caption
    assert "All runs share" not in caption


def make_thresholds(arms=("one", "two", "three")):
    """Arms that take one training a seed over: all but the fingerprint and the test is the same."""
    runs = make_runs(arms)
    same = ["val/dice_per_image", "val/dice_variation", "train_seconds"]
    runs[same] = pd.concat([runs[same].iloc[:3]] * len(arms), ignore_index=True)
    epochs = pd.concat([make_epochs(arms[:1]).assign(arm=arm) for arm in arms], ignore_index=True)
    return runs, epochs


@pytest.mark.parametrize("with_epochs", [True, False])
def test_arms_that_share_a_training_count_once_as_the_first_of_them(with_epochs):
    runs, epochs = make_thresholds()
    points = validation_and_test({"threshold": runs}, {"threshold": epochs} if with_epochs else None)
    assert list(points["arm"]) == ["one"] * 3
    assert list(points["seed"]) == [1, 2, 3]
    assert list(points["test"]) == pytest.approx([0.90, 0.91, 0.92])


def test_a_training_that_another_ablation_shows_is_not_shown_by_another_arm():
    runs, epochs = make_thresholds()
    other = make_runs(("base",)).assign(fingerprint=[f"two {seed}" for seed in (1, 2, 3)])
    points = validation_and_test({"other": other, "threshold": runs}, {"threshold": epochs})
    assert list(points["ablation"]) == ["other"] * 3


def test_different_trainings_that_reach_the_same_validation_dice_count_each():
    runs = make_runs()
    runs["val/dice_per_image"] = 0.5
    # The epochs of both arms have the same validation Dice, and different losses.
    assert len(validation_and_test({"small": runs}, {"small": make_epochs()})) == 6
    nothing = runs.drop(columns="train_seconds")
    assert len(validation_and_test({"small": nothing})) == 6
