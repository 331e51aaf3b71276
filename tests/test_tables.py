from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from segcore.metrics import Counts
from segcore.tables import per_image_table, threshold_curve


def make_counts(tp: list[Any], fp: list[Any], fn: list[Any], tn: list[Any]) -> Counts:
    return Counts(*(torch.tensor(values) for values in (tp, fp, fn, tn)))


def test_per_image_table_by_hand(tmp_path: Path) -> None:
    counts = make_counts([2, 0], [1, 0], [1, 0], [0, 4])
    table = per_image_table(["cat_1", "dog_1"], ["cat", None], counts)
    assert list(table) == ["name", "breed", "tp", "fp", "fn", "tn", "dice", "iou"]
    assert [table[column][0] for column in ("name", "breed", "tp", "fp", "fn", "tn")] == ["cat_1", "cat", 2, 1, 1, 0]
    assert table["dice"].tolist() == pytest.approx([2 / 3, 1])
    assert table["iou"].tolist() == pytest.approx([1 / 2, 1])
    assert table["breed"].isna().tolist() == [False, True]


def test_per_image_table_survives_parquet(tmp_path: Path) -> None:
    table = per_image_table(["a", "b"], [None, None], make_counts([1, 2], [0, 0], [0, 0], [0, 0]))
    table.to_parquet(tmp_path / "table.parquet", index=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), table)


def test_per_image_table_refuses_other_lengths() -> None:
    with pytest.raises(ValueError, match="one length"):
        per_image_table(["a"], [None], make_counts([1, 2], [0, 0], [0, 0], [0, 0]))


def test_threshold_curve_by_hand() -> None:
    # Image 1 is found at both thresholds, image 2 only at the first.
    counts = make_counts([[4, 4], [2, 0]], [[4, 0], [0, 0]], [[0, 0], [0, 2]], [[0, 4], [6, 6]])
    curve = threshold_curve(counts, (0.4, 0.5))
    assert curve["threshold"].tolist() == [0.4, 0.5]
    assert curve["dice_per_image"].tolist() == pytest.approx([(2 / 3 + 1) / 2, (1 + 0) / 2])
    assert curve["dice_dataset"].tolist() == pytest.approx([12 / 16, 8 / 10])
    assert curve["iou_per_image"].tolist() == pytest.approx([(1 / 2 + 1) / 2, 1 / 2])
    assert curve["iou_dataset"].tolist() == pytest.approx([6 / 10, 4 / 6])
