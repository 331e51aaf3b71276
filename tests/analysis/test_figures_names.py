"""Names from outside: of files, and as text in a picture."""

import functools
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from analysis.figures import ablation_pictures, overall_pictures, save
from analysis.figures.output import LeftOutError, Picture, safe_stem
from analysis.figures.pictures import collect
from analysis.verdicts import judge
from tests.analysis.figure_frames import (
    CONTEXT,
    make_curves,
    make_definition,
    make_epochs,
    make_images,
    make_runs,
)
from tests.analysis.test_figures_images import png
from tests.analysis.test_figures_style import inked

BAD = (r"cost $\bad{$ 5", "$x$", "_hidden", "100 % & #1 \\cmd {y} <b>")


def make(arms, breeds, **options):
    definition = make_definition(arms, figures=((6, 7), (18,), (1,)))
    runs = make_runs(arms)
    frames = (runs, make_epochs(arms), make_images(arms, breeds=breeds), make_curves(arms))
    sheets = {name: png() for name in ("worst", "best", "tenth_batches")}
    return ablation_pictures(definition, *frames, judge(definition, runs), sheets, "an arm, seed 1", CONTEXT, **options)


@pytest.fixture(scope="module")
def pictures():
    made, notes = make(BAD, (r"$a$ $\b{$", "Sphynx"))
    assert notes == []
    return {picture.name: picture for picture in made}


def test_names_with_dollars_are_drawn_and_saved_as_they_are(pictures, tmp_path):
    rows = [label.get_text() for label in pictures["small_test_dice"].figure.axes[0].get_yticklabels()]
    assert rows == list(BAD)
    breeds = pictures["small_breeds"].figure.axes[0].get_yticklabels()
    assert {label.get_text() for label in breeds} == {r"$a$ $\b{$ (5)", "Sphynx (5)"}
    assert not any(label.get_parse_math() for label in breeds)
    legend = pictures["small_loss"].figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == list(BAD)
    for picture in pictures.values():
        assert all(path.is_file() for path in save(picture, tmp_path))


def test_an_ablation_with_a_strange_title_is_in_the_legend_of_all():
    (picture,), notes = overall_pictures({"_one $\\bad{$": make_runs(), "small": make_runs().iloc[:0]}, CONTEXT)
    assert notes == []
    assert [text.get_text() for text in picture.figure.legends[0].get_texts()] == ["_one $\\bad{$"]


def test_labels_of_logarithms_are_plain_numbers_without_mathematics(pictures):
    labels = [label.get_text() for label in pictures["small_variation"].figure.axes[1].get_yticklabels()]
    assert labels
    assert not any("$" in label for label in labels)


def test_the_stem_stands_in_all_names_and_two_experiments_do_not_meet(tmp_path):
    first, _ = make(("fast", "slow"), ("Abyssinian", "Sphynx"), stem="lr_sweep-demo")
    second, _ = make(("fast", "slow"), ("Abyssinian", "Sphynx"), stem="lr_sweep-pets64")
    assert all("lr_sweep-demo" in picture.name for picture in first)
    assert not {picture.name for picture in first} & {picture.name for picture in second}
    assert {"fig06_lr_sweep-demo_loss", "lr_sweep-demo_breeds", "fig01_lr_sweep-demo_predictions"} <= {
        picture.name for picture in first
    }


def test_a_hostile_stem_gives_files_in_the_folder(tmp_path):
    folder = tmp_path / "a" / "b"
    made, _ = make(("fast", "slow"), ("Abyssinian", "Sphynx"), stem="../../evil name")
    for picture in made[:3]:
        for path in save(picture, folder):
            assert path.parent == folder
            assert path.is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_saving_makes_the_name_safe_whoever_made_the_picture(tmp_path):
    paths = save(Picture("../x y", "", "", Figure()), tmp_path / "figures")
    assert {path.parent for path in paths} == {tmp_path / "figures"}


@pytest.mark.parametrize("name", ["fig06_lr_sweep_loss", "lr_sweep-pets64_test_dice", "a.b"])
def test_a_safe_name_stays(name):
    assert safe_stem(name) == name


@pytest.mark.parametrize("name", ["../../evil", "a b", "", "..", "a/b", "a\\b", "é\n", ".hidden", "x" * 500, "\ud800"])
def test_any_other_becomes_one_that_is_safe_and_its_own(name):
    stem = safe_stem(name)
    assert Path(stem).name == stem
    assert stem.isascii()
    assert not stem.startswith(".")
    assert not set(stem) & set("/\\ \n")
    assert 0 < len(stem) <= 200
    assert safe_stem(stem) == stem


def test_two_names_that_look_alike_when_safe_stay_apart():
    assert safe_stem("a b") != safe_stem("a/b") != safe_stem("a_b")


def test_an_error_in_one_picture_costs_that_one_and_is_named():
    def fail(name):
        raise ValueError("no such\nnumber")

    def leave_out(name):
        raise LeftOutError("there is nothing")

    draw = functools.partial(Picture, title="", caption="", figure=Figure())
    made, notes = collect([("broken", fail), ("empty", leave_out), ("whole", draw)])
    assert [picture.name for picture in made] == ["whole"]
    assert notes == [
        "broken is left out: drawing it failed (ValueError: no such number).",
        "empty is left out: there is nothing.",
    ]


@pytest.mark.parametrize("dpi", [72, 100, 150, 200])
def test_no_label_is_cut_at_any_resolution(dpi):
    made, _ = make(("fast", "$x$ slow arm with a rather long name"), ("meadow_hound_of_the_long_hills", "Sphynx"))
    for picture in made:
        if not picture.name.endswith(("worst", "best", "predictions")):
            assert not inked(picture.figure, dpi)[:, 0].any(), picture.name
            assert not inked(picture.figure, dpi)[0].any(), picture.name
