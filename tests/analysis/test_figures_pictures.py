import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.figures import ablation_pictures, look, overall_pictures, plot_changes, save, validation_and_test
from analysis.figures.output import absent_clause
from analysis.figures.overall import epoch_changes
from analysis.numbers import join, plural
from analysis.verdicts import judge
from tests.analysis.figure_frames import (
    ARMS,
    CONTEXT,
    line_of,
    make_curves,
    make_definition,
    make_epochs,
    make_images,
    make_runs,
)
from tests.analysis.test_figures_images import png

FIRST = ["differences", "test_dice"]
WHOLE = ["time", "compute", "threshold", "per_image", "breeds", "variation", "worst", "best"]
SHEETS = {name: png() for name in ("worst", "best", "tenth_batches")}


def make_all(arms=ARMS, figures=((6, 7),), **changes):
    """Pictures and notes of the small world; changes: of its frames."""
    definition = make_definition(arms, figures)
    frames = {
        "runs": make_runs(arms),
        "epochs": make_epochs(arms),
        "images": make_images(arms),
        "curves": make_curves(arms),
        "sheets": SHEETS,
    } | changes
    verdicts = judge(definition, frames["runs"])
    return ablation_pictures(definition, verdicts=verdicts, sheet_label="fast, seed 1", context=CONTEXT, **frames)


def names(pictures):
    return [picture.name for picture in pictures]


@pytest.fixture(scope="module")
def pictures():
    made, notes = make_all()
    assert notes == []
    return {picture.name: picture for picture in made}


def test_an_ablation_has_the_reports_pair_and_every_other_picture(pictures):
    assert list(pictures) == [
        *(f"small_{what}" for what in FIRST),
        "fig06_small_loss",
        "fig07_small_dice",
        *(f"small_{what}" for what in WHOLE),
    ]


def test_every_caption_says_n_the_interval_or_that_there_is_none_and_the_data(pictures):
    for picture in pictures.values():
        assert "n = " in picture.caption
        assert "interval" in picture.caption
        assert picture.caption.endswith(f"{CONTEXT}.")
        assert picture.title.startswith("Small: ")


def test_every_picture_is_one_or_two_columns_wide_with_text_of_seven_points(pictures):
    for picture in pictures.values():
        assert picture.figure.get_figwidth() in (3.4, 7.0)
        texts = [
            label for axes in picture.figure.axes for label in (axes.xaxis.label, *axes.get_yticklabels(), *axes.texts)
        ]
        assert {text.get_fontsize() for text in texts} <= {7.0}


def test_an_arm_has_one_colour_in_all_pictures(pictures):
    for position, arm in enumerate(ARMS):
        for what in ("fig06_small_loss", "small_time", "small_threshold", "small_breeds"):
            assert line_of(pictures[what].figure.axes[0], arm).get_color() == look(position).colour
        boxes = pictures["small_per_image"].figure.axes[0].collections
        assert look(position).colour.lower() in {to_hex(face) for drawn in boxes for face in drawn.get_facecolor()}


def test_pairs_of_some_arms_are_followed_by_the_curves_of_all():
    made, notes = make_all(("fast", "middle", "slow"), figures=((6, 7), (8, 9)))
    assert names(made)[2:8] == [
        "fig06_small_loss",
        "fig07_small_dice",
        "fig08_small_loss",
        "fig09_small_dice",
        "small_loss",
        "small_dice",
    ]
    assert [line_of(made[6].figure.axes[0], arm).get_color() for arm in ("fast", "middle", "slow")] == [
        look(position).colour for position in range(3)
    ]
    assert notes == []


def test_single_numbers_are_the_sheet_and_the_printed_results():
    made, _ = make_all(figures=((1,), (4,), (18,)))
    assert names(made)[2:7] == [
        "fig01_small_predictions",
        "fig04_small_test",
        "fig18_small_test",
        "small_loss",
        "small_dice",
    ]


def test_what_is_missing_is_left_out_and_said():
    empty = pd.DataFrame()
    made, notes = make_all(images=empty, curves=empty, sheets={}, figures=((1,),))
    assert names(made) == [f"small_{what}" for what in (*FIRST, "loss", "dice", "time", "compute", "variation")]
    assert notes == [
        "fig01_small_predictions is left out: the run of fast, seed 1 has kept no such sheet.",
        "small_threshold is left out: no finished run has a threshold curve.",
        "small_per_image is left out: no finished run has a table of its test images.",
        "small_breeds is left out: no finished run has a table of its test images.",
        "small_worst is left out: the run of fast, seed 1 has kept no such sheet.",
        "small_best is left out: the run of fast, seed 1 has kept no such sheet.",
    ]


def test_an_ablation_that_never_ran_has_the_differences_alone():
    runs = pd.DataFrame([{"arm": arm, "seed": 1, "state": "not run", "reason": ""} for arm in ARMS])
    made, notes = make_all(runs=runs, epochs=make_epochs().iloc[:0], images=make_images().iloc[:0], sheets={})
    assert names(made) == ["small_differences"]
    assert len(notes) == 11


def test_a_figure_of_an_arm_that_is_gone_is_left_out():
    definition = make_definition()
    gone = type(definition.figures[0])((2, 3), ("fast", "lost"))
    changed = type(definition)(**{**vars(definition), "figures": (gone,)})
    arguments = (make_runs(), make_epochs(), make_images(), make_curves(), [], SHEETS, "", CONTEXT)
    made, notes = ablation_pictures(changed, *arguments)
    assert notes[1:3] == [
        f"fig0{number} is left out: the ablation has no arm lost." for number in ("2_small_loss", "3_small_dice")
    ]
    assert names(made)[1:3] == ["small_loss", "small_dice"]
    more = type(definition)(**{**vars(definition), "figures": (type(gone)((2, 3), (*ARMS, "lost")),)})
    assert names(ablation_pictures(more, *arguments)[0])[1:3] == ["small_loss", "small_dice"]


def test_runs_of_an_arm_that_is_gone_are_not_drawn():
    made, _ = make_all(("fast", "slow"), runs=make_runs(("fast", "slow", "lost")), figures=())
    dice = next(picture for picture in made if picture.name == "small_test_dice")
    assert "lost" not in dice.caption
    assert [label.get_text() for label in dice.figure.axes[0].get_yticklabels()] == ["fast", "slow"]


def test_one_arm_one_seed_one_epoch():
    arms = ("only",)
    one = {"runs": make_runs(arms, (1,)), "epochs": make_epochs(arms, (1,), 1), "images": make_images(arms, (1,))}
    made, notes = make_all(arms, figures=(), curves=make_curves(arms, (1,)), **one)
    assert notes == [
        "small_variation is left out: no validation Dice changes between epochs, for which it takes 3 epochs."
    ]
    assert len(made) == 11


def test_36_arms_with_long_names_are_drawn_inside_the_figure():
    arms = tuple(f"exponential decay of 0.{number:03d} after a warm-up" for number in range(36))
    frames = {"runs": make_runs(arms, (1,)), "epochs": make_epochs(arms, (1,)), "sheets": {}}
    made, _ = make_all(arms, figures=(), images=make_images(arms, (1,)), curves=make_curves(arms, (1,)), **frames)
    assert names(made) == [f"small_{what}" for what in (*FIRST, "loss", "dice", *WHOLE[:-2])]
    for picture in made:
        for legend in picture.figure.legends:
            box = legend.get_window_extent()
            assert 0 <= box.x0 < box.x1 <= picture.figure.bbox.width


def test_png_and_pdf_are_the_same_bytes_every_time(pictures, tmp_path):
    again = {picture.name: picture for picture in make_all()[0]}
    for name in ("fig06_small_loss", "small_differences", "small_per_image", "small_worst"):
        first = [path.read_bytes() for path in save(pictures[name], tmp_path / "first")]
        assert [path.read_bytes() for path in save(pictures[name], tmp_path / "second")] == first
        assert [path.read_bytes() for path in save(again[name], tmp_path / "third")] == first
    assert sorted(path.name for path in (tmp_path / "first").glob("fig06*")) == [
        "fig06_small_loss.pdf",
        "fig06_small_loss.png",
    ]


def test_another_process_writes_the_same_bytes(pictures, tmp_path):
    script = (
        "import sys; from pathlib import Path; from analysis.figures import save\n"
        "from tests.analysis.test_figures_pictures import make_all\n"
        "[save(picture, Path(sys.argv[1])) for picture in make_all()[0] if picture.name in sys.argv[2:]]"
    )
    chosen = ["fig07_small_dice", "small_differences", "small_breeds"]
    environment = os.environ | {"PYTHONHASHSEED": "123", "MPLBACKEND": "svg"}
    command = [sys.executable, "-c", script, str(tmp_path / "theirs"), *chosen]
    subprocess.run(command, check=True, cwd=Path(__file__).resolve().parents[2], env=environment)
    for name in chosen:
        for path in save(pictures[name], tmp_path / "ours"):
            assert path.read_bytes() == (tmp_path / "theirs" / path.name).read_bytes(), path.name


def test_a_pdf_has_no_date_and_its_text_stays_text(pictures, tmp_path):
    _, pdf = save(pictures["fig06_small_loss"], tmp_path)
    content = pdf.read_bytes()
    assert b"/CIDFontType2" in content or b"/TrueType" in content
    assert b"/Type3" not in content
    assert b"CreationDate" not in content


def test_variation_is_shown_in_points_and_by_epoch(pictures):
    finals, changes = pictures["small_variation"].figure.axes
    seeds = next(line for line in finals.lines if line.get_color() == look(0).colour)
    assert sorted(seeds.get_xdata()) == pytest.approx([1, 2, 3])
    # Every seed's Dice rises by 0.1 an epoch.
    assert list(line_of(changes, "slow").get_ydata()) == pytest.approx([10, 10, 10])
    assert list(line_of(changes, "slow").get_xdata()) == [2, 3, 4]


def test_changes_of_unfinished_runs_do_not_count_and_zeros_are_gaps():
    runs = make_runs(unfinished={("fast", seed): "failed" for seed in (1, 2, 3)})
    epochs = make_epochs()
    flat = epochs.assign(value=epochs["value"].mask(epochs["epoch"] > 2, 0.5))
    changes = epoch_changes(flat, runs, {arm: look(0) for arm in ARMS})
    assert list(changes) == ["slow"]
    assert list(changes["slow"].index) == [2, 3]
    axes = Figure().subplots()
    plot_changes(axes, flat, runs, {arm: look(0) for arm in ARMS})
    assert [line.get_label() for line in axes.lines] == ["slow"]


def test_validation_is_that_of_the_last_epoch_or_with_the_epochs_the_best():
    points = validation_and_test({"small": make_runs()})
    assert points["validation"].to_numpy() == pytest.approx(points["test"].to_numpy() - 0.01)
    best = validation_and_test({"small": make_runs()}, {"small": make_epochs()})
    assert best["validation"].iloc[:3].to_numpy() == pytest.approx([0.41, 0.42, 0.43])


def test_a_training_of_several_ablations_counts_once_and_unfinished_ones_not():
    runs = make_runs(unfinished={("slow", 3): "diverged"})
    assert len(validation_and_test({"small": runs, "copy": runs})) == 5
    assert len(validation_and_test({"small": runs, "other": runs.assign(fingerprint="")})) == 10


def test_test_against_validation_over_all_ablations():
    runs = make_runs()
    other = runs.assign(fingerprint=runs["fingerprint"] + "x")
    (picture,), notes = overall_pictures({"small": runs, "other": other}, CONTEXT)
    assert notes == []
    assert picture.name == "fig_validation_test"
    assert "n = 12 runs of small and other" in picture.caption
    assert (
        "Test minus validation: +1.00 points on average, standard deviation 0.00; rank correlation 1.00."
        in picture.caption
    )
    left, right = picture.figure.axes
    assert list(line_of(left, "small").get_ydata()) == pytest.approx(runs["test_at_0.5/dice_per_image"])
    assert list(line_of(right, "other").get_ydata()) == pytest.approx(np.ones(6))
    assert line_of(left, "small").get_marker() != line_of(left, "other").get_marker()


def test_runs_that_are_all_the_same_have_no_rank_correlation():
    runs = make_runs().assign(**{"test_at_0.5/dice_per_image": 0.5})
    (picture,), _ = overall_pictures({"small": runs}, CONTEXT)  # a warning would be an error
    assert "standard deviation" in picture.caption and "rank correlation" not in picture.caption


def test_nothing_to_compare_over_all_ablations():
    runs = pd.DataFrame([{"arm": "fast", "seed": 1, "state": "failed"}])
    expected = ["fig_validation_test is left out: no finished run has both validation and test Dice."]
    assert overall_pictures({"small": runs}, CONTEXT) == ([], expected)
    assert overall_pictures({}, CONTEXT) == ([], expected)


def test_words_of_captions():
    assert [plural(1, "run"), plural(3669, "image"), plural(2, "hypothesis", "hypotheses")] == [
        "1 run",
        "3,669 images",
        "2 hypotheses",
    ]
    assert [join(["a"]), join(["a", "b"]), join(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    states = {("fast", 1): "missing", ("fast", 2): "missing", ("fast", 3): "failed", ("slow", 3): "failed"}
    runs = make_runs(unfinished=states)
    absent = runs[runs["state"] != "finished"]
    assert absent_clause(absent) == "; without fast, seeds 1, 2 (missing); fast, seed 3 (failed); slow, seed 3 (failed)"
    many = make_runs(arms=[f"arm {number}" for number in range(7)])
    assert absent_clause(many).endswith("; arm 3, seeds 1, 2, 3 (no value); 9 more")
