from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from segcore.data import Border, EvaluationLoader, Part, pack
from segcore.evaluation import evaluate
from segcore.examples import example_sheets, predict_rows, select
from segcore.metrics import dice
from segcore.pictures import SheetRow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def part() -> Part:
    """Twelve random pictures of 32 x 32, whose trimaps have all three codes."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    codes = generator.integers(1, 4, (12, 32, 32), dtype=np.uint8)
    return Part(tuple(f"cat_{number}" for number in range(12)), ("cat",) * 12, pack(images, codes))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    model = nn.Conv2d(3, 1, 1)
    nn.init.constant_(model.weight, 1)
    assert model.bias is not None
    nn.init.constant_(model.bias, -1.5)
    return model


@pytest.mark.parametrize("border", ["pet", "background", "ignore"])
def test_rows_agree_with_the_evaluation(part: Part, model: nn.Module, border: Border) -> None:
    loader = EvaluationLoader(part, batch_size=5, device=CPU, border=border)
    evaluation = evaluate(model, loader, thresholds=(0.45,), device=CPU)
    rows = list(predict_rows(model, part, threshold=0.45, border=border, batch_size=5, device=CPU))
    assert [row.caption for row in rows] == list(part.names)
    for number, row in enumerate(rows):
        assert row.truth_HW is not None
        counted = np.ones((32, 32), bool) if row.valid_HW is None else row.valid_HW
        assert np.array_equal(row.image_HW3, part.images_NHW3[number])
        assert (row.truth_HW & row.prediction_HW & counted).sum() == evaluation.counts.tp[number, 0]
        assert (~row.truth_HW & row.prediction_HW & counted).sum() == evaluation.counts.fp[number, 0]
        assert (row.truth_HW & ~row.prediction_HW & counted).sum() == evaluation.counts.fn[number, 0]


def test_select_keeps_the_order_asked_for(part: Part) -> None:
    chosen = select(part, [7, 2])
    assert chosen.names == ("cat_7", "cat_2")
    assert np.array_equal(chosen.images_NHW3[1], part.images_NHW3[2])
    assert np.array_equal(chosen.codes_NHW[0], part.codes_NHW[7])


def test_sheets_name_the_worst_the_best_and_the_tenth_batches(
    part: Part, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions: dict[str, list[str]] = {}

    def keep(rows: Sequence[SheetRow], title: str) -> None:
        captions[title] = [row.caption for row in rows]

    monkeypatch.setattr("segcore.examples.sheet", keep)
    loader = EvaluationLoader(part, batch_size=5, device=CPU, border="pet")
    counts = evaluate(model, loader, thresholds=(0.5,), device=CPU).counts_at(0.5)
    sheets = example_sheets(model, part, counts, threshold=0.5, border="pet", batch_size=1, device=CPU, title="bright")
    assert list(sheets) == ["worst", "best", "tenth_batches"]
    scores = dice(counts).numpy()
    order = np.argsort(scores)
    expected = [f"cat_{number} · Dice {scores[number]:.3f}" for number in order]
    assert captions["bright: worst test images, threshold 0.5"] == expected[:8]
    assert captions["bright: best test images, threshold 0.5"] == expected[:-9:-1]
    tenth = captions["bright: test images of every tenth batch, threshold 0.5"]
    assert [caption.split()[0] for caption in tenth] == ["cat_0", "cat_10"]
