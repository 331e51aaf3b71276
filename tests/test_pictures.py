import matplotlib
import numpy as np
import pytest
from PIL import Image

from segcore.pictures import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    PREDICTION,
    TILE,
    TRUE_POSITIVE,
    TRUTH,
    Mask,
    SheetRow,
    caption,
    choose_examples,
    curves,
    error_map,
    every_tenth_batch,
    fit,
    overlay,
    sheet,
)


def square(start: int, stop: int, size: int = 20) -> Mask:
    mask = np.zeros((size, size), dtype=bool)
    mask[start:stop, start:stop] = True
    return mask


def make_row(truth: bool = True, height: int = 64, width: int = 64, caption: str = "cat · Dice 0.500") -> SheetRow:
    image = np.full((height, width, 3), 100, np.uint8)
    mask = np.zeros((height, width), dtype=bool)
    mask[: height // 2] = True
    return SheetRow(image, ~mask if truth else None, mask, caption)


def test_overlay_tints_inside_outlines_the_edge_and_leaves_the_rest() -> None:
    image = np.full((20, 20, 3), 100, np.uint8)
    picture = np.asarray(overlay(image, square(5, 15)))
    assert (picture[~square(5, 15)] == 100).all()
    edge = square(5, 15) & ~square(6, 14)
    assert (picture[edge] == PREDICTION).all()
    assert picture[10, 10].tolist() == [round(100 + 0.45 * (channel - 100)) for channel in PREDICTION]


def test_overlay_draws_the_outline_of_the_truth_over_it() -> None:
    picture = np.asarray(overlay(np.zeros((20, 20, 3), np.uint8), square(5, 15), square(2, 10)))
    assert tuple(picture[2, 5]) == TRUTH
    assert tuple(picture[4, 4]) == (0, 0, 0)


def test_overlay_of_a_mask_that_fills_the_picture_has_its_outline_at_the_border() -> None:
    picture = np.asarray(overlay(np.zeros((20, 20, 3), np.uint8), np.ones((20, 20), bool)))
    assert (picture[0] == PREDICTION).all()
    assert not (picture[1, 1:-1] == PREDICTION).any()


def test_overlay_refuses_a_mask_of_another_size() -> None:
    with pytest.raises(ValueError, match="shape"):
        overlay(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 10), bool))


def test_error_map_has_a_colour_for_each_kind_of_pixel() -> None:
    image = np.zeros((1, 4, 3), np.uint8)
    row = SheetRow(image, np.array([[1, 0, 1, 0]], bool), np.array([[1, 1, 0, 0]], bool), "")
    expected = [TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, (0, 0, 0)]
    assert np.allclose(error_map(row)[0], np.asarray(expected) * 0.75, atol=1)


def test_error_map_leaves_out_pixels_that_do_not_count() -> None:
    truth = prediction = np.ones((1, 2), bool)
    row = SheetRow(np.zeros((1, 2, 3), np.uint8), truth, prediction, "", np.array([[True, False]]))
    assert error_map(row)[0, 0].any()
    assert not error_map(row)[0, 1].any()


def test_fit_brings_small_and_large_pictures_to_a_tile() -> None:
    assert fit(make_row(height=64, width=64)).image_HW3.shape == (TILE, TILE, 3)
    large = fit(make_row(height=1000, width=500))
    assert large.image_HW3.shape == (TILE, TILE // 2, 3)
    assert large.truth_HW is not None
    assert large.truth_HW.shape == large.prediction_HW.shape == (TILE, TILE // 2)
    assert large.prediction_HW.dtype == bool
    assert fit(make_row(height=1, width=1000)).image_HW3.shape == (1, TILE, 3)


def test_sheet_shows_prediction_and_truth_in_their_columns() -> None:
    picture = np.asarray(sheet([make_row()], "title"))
    columns = [index for index in range(picture.shape[1]) if (picture[:, index] == PREDICTION).all(axis=-1).any()]
    truths = [index for index in range(picture.shape[1]) if (picture[:, index] == TRUTH).all(axis=-1).any()]
    assert max(truths) < min(columns)
    assert max(columns) - min(columns) == TILE - 1


def test_sheet_without_truth_is_half_as_wide() -> None:
    wide, narrow = sheet([make_row()], "title"), sheet([make_row(truth=False)], "title")
    assert wide.width - narrow.width == pytest.approx(2 * TILE, abs=20)


def test_sheet_stands_in_two_blocks_from_five_rows_on() -> None:
    four, five, eight = (sheet([make_row()] * num, "title") for num in (4, 5, 8))
    assert five.width > 1.9 * four.width
    assert five.height < four.height
    assert eight.size == (five.width, four.height)


def test_sheet_survives_long_and_undecodable_names() -> None:
    row = make_row(truth=False, caption="x" * 500 + "\udcff\n")
    assert sheet([row], "t" * 500).size == sheet([make_row(truth=False)], "title").size


def test_sheet_needs_a_row() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        sheet([], "title")


@pytest.mark.parametrize("num_epochs", [1, 3, 40])
def test_curves_draw_without_global_state(num_epochs: int) -> None:
    backend = matplotlib.rcParams["backend"]
    epochs = [
        {"epoch": epoch, "metrics": {"train/loss": 1 / epoch, "val/loss": float("nan"), "val/dice_per_image": 0.5}}
        for epoch in range(1, num_epochs + 1)
    ]
    picture = curves(epochs, "lr 1e-3, seed 42")
    assert isinstance(picture, Image.Image)
    assert picture.size == (1200, 480)
    assert np.asarray(picture).std() > 5
    assert matplotlib.rcParams["backend"] == backend


def test_curves_differ_with_the_numbers() -> None:
    first, second = ([{"epoch": 1, "metrics": {"train/loss": loss}}, {"epoch": 2, "metrics": {"train/loss": 1}}]
                     for loss in (2, 0.5))  # fmt: skip
    assert curves(first, "title") != curves(second, "title")


def test_captions_point_out_an_empty_truth() -> None:
    assert caption("cat", 0.5, square(5, 15)) == "cat · Dice 0.500"
    assert caption("cat", 0, square(5, 5)) == "cat · Dice 0.000 · the truth is empty"


def test_choose_examples_orders_from_the_extreme_and_breaks_ties_by_place() -> None:
    assert choose_examples(np.array([0.5, 0.1, 0.9, 0.1]), 3) == {"worst": [1, 3, 0], "best": [2, 0, 1]}
    assert choose_examples(np.array([0.5]), 3) == {"worst": [0], "best": [0]}


def test_every_tenth_batch() -> None:
    # 25 batches of 2: the first, the eleventh and the twenty-first count.
    assert every_tenth_batch(50, 2, 6) == [0, 1, 20, 21, 40, 41]
    assert every_tenth_batch(50, 2, 100) == [0, 1, 20, 21, 40, 41]
    assert every_tenth_batch(50, 2, 3) == [1, 21, 41]
    assert every_tenth_batch(1, 128, 8) == [0]
