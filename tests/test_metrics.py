"""Metrics against hand-worked values, torchmetrics, scikit-learn and plain loops."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score
from torch import Tensor
from torchmetrics.functional.classification import binary_f1_score, binary_jaccard_index, binary_stat_scores

from segcore.metrics import (
    THRESHOLDS,
    Counts,
    choose_threshold,
    count,
    dice,
    dice_batch,
    dice_batch_soft,
    dice_dataset,
    iou,
    iou_dataset,
    soft_sums,
)


def counts_of(tp: object, fp: object, fn: object, tn: object) -> Counts:
    """Counts from plain lists."""
    return Counts(*(torch.tensor(values, dtype=torch.int64) for values in (tp, fp, fn, tn)))


def random_batch(num_images: int = 6, size: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities on a grid of hundredths (so that many lie on a threshold), masks, validity."""
    generator = torch.Generator().manual_seed(1)
    shape = (num_images, 1, size, size)
    probabilities = torch.randint(0, 101, shape, generator=generator) / 100
    masks = (torch.rand(shape, generator=generator) > 0.6).float()
    return probabilities, masks, torch.rand(shape, generator=generator) > 0.2


def naive_counts(probabilities: Tensor, masks: Tensor, threshold: float, valid: Tensor) -> list[list[int]]:
    """TP, FP, FN, TN of each image, one image at a time."""
    result = []
    for p, g, v in zip(probabilities, masks, valid, strict=True):
        positive, truth = p > threshold, g == 1
        cells = (positive & truth, positive & ~truth, ~positive & truth, ~positive & ~truth)
        result.append([int((cell & v).sum()) for cell in cells])
    return result


def as_list(counts: Counts) -> list[list[int]]:
    """TP, FP, FN, TN of each image, from counts (N,)."""
    return torch.stack([counts.tp, counts.fp, counts.fn, counts.tn], dim=1).tolist()


def test_thresholds() -> None:
    assert len(THRESHOLDS) == 91
    assert (THRESHOLDS[0], THRESHOLDS[1], THRESHOLDS[-1]) == (0.05, 0.06, 0.95)
    assert THRESHOLDS[THRESHOLDS.index(0.4)] == 0.4 and THRESHOLDS[45] == 0.5


def test_count_by_hand() -> None:
    probabilities = torch.tensor([[0.1, 0.5, 0.6, 0.9], [0.2, 0.2, 0.2, 0.2]]).view(2, 1, 2, 2)
    masks = torch.tensor([[0.0, 1, 0, 1], [0, 0, 0, 0]]).view(2, 1, 2, 2)
    counts = count(probabilities, masks, (0.15, 0.5))
    assert counts.tp.tolist() == [[2, 1], [0, 0]]
    assert counts.fp.tolist() == [[1, 1], [4, 0]]
    assert counts.fn.tolist() == [[0, 1], [0, 0]]
    assert counts.tn.tolist() == [[1, 1], [0, 4]]
    assert all(tensor.dtype == torch.int64 for tensor in vars(counts).values())


@pytest.mark.parametrize("thresholds", [THRESHOLDS, (0.5,), (0.0, 1.0), (-1.0, 0.07, 0.3333, 0.91, 2.0)])
@pytest.mark.parametrize("with_valid", [False, True])
def test_count_agrees_with_the_naive_loop(thresholds: tuple[float, ...], with_valid: bool) -> None:
    probabilities, masks, valid = random_batch()
    counts = count(probabilities, masks, thresholds, valid if with_valid else None)
    everywhere = torch.ones_like(valid)
    for index, threshold in enumerate(thresholds):
        expected = naive_counts(probabilities, masks, threshold, valid if with_valid else everywhere)
        assert as_list(counts.at(index)) == expected


def test_count_agrees_with_torchmetrics() -> None:
    probabilities, masks, _ = random_batch()
    counts = count(probabilities, masks, (0.4,)).at(0)
    stats = binary_stat_scores(probabilities, masks.long(), threshold=0.4, multidim_average="samplewise")
    assert as_list(counts) == [[tp, fp, fn, tn] for tp, fp, tn, fn, _ in stats.tolist()]


def test_a_probability_on_the_threshold_is_negative_in_float32() -> None:
    # In double precision float32(0.4) = 0.4000000060 would exceed 0.4.
    on, above = torch.tensor(0.4), torch.nextafter(torch.tensor(0.4), torch.tensor(1.0))
    counts = count(torch.stack([on, above]).view(2, 1, 1, 1), torch.ones(2, 1, 1, 1), (0.4,))
    assert counts.tp.tolist() == [[0], [1]]


def test_pixels_that_are_not_finite_are_compared_as_torch_does() -> None:
    values = torch.tensor([math.nan, math.inf, -math.inf, 0.5])
    thresholds = (-0.5, 0.4, 0.6)
    counts = count(values.view(1, 1, 2, 2), torch.ones(1, 1, 2, 2), thresholds)
    assert counts.tp.tolist() == [[int((values > threshold).sum()) for threshold in thresholds]] == [[2, 2, 1]]


def test_count_takes_channels_last_half_precision_and_bool_masks() -> None:
    probabilities, masks, valid = random_batch()
    expected = count(probabilities.half().float(), masks, THRESHOLDS, valid)
    strided = probabilities.half().to(memory_format=torch.channels_last).transpose(2, 3).contiguous().transpose(2, 3)
    result = count(strided, masks.bool(), THRESHOLDS, valid)
    assert all(torch.equal(a, b) for a, b in zip(vars(result).values(), vars(expected).values(), strict=True))


@pytest.mark.parametrize("thresholds", [(), (0.5, 0.4), (0.5, 0.5)])
def test_thresholds_have_to_ascend(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        count(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), thresholds)


def test_every_valid_pixel_is_counted_once() -> None:
    probabilities, masks, valid = random_batch()
    counts = count(probabilities, masks, THRESHOLDS, valid)
    pixels = counts.tp + counts.fp + counts.fn + counts.tn
    assert torch.equal(pixels, valid.sum((1, 2, 3))[:, None].expand(-1, len(THRESHOLDS)))


def test_invalid_pixels_change_nothing() -> None:
    probabilities, masks, valid = random_batch()
    other = torch.where(valid, probabilities, 1 - probabilities), torch.where(valid, masks, 1 - masks)
    assert as_list(count(*other, (0.5,), valid).at(0)) == as_list(count(probabilities, masks, (0.5,), valid).at(0))
    assert torch.equal(soft_sums(*other, valid), soft_sums(probabilities, masks, valid))


def test_dice_and_iou_by_hand() -> None:
    counts = counts_of([2, 0, 0, 4], [1, 0, 3, 0], [1, 0, 0, 0], [0, 4, 1, 0])
    assert dice(counts).tolist() == pytest.approx([2 / 3, 1, 0, 1])
    assert iou(counts).tolist() == pytest.approx([2 / 4, 1, 0, 1])
    assert dice_dataset(counts).item() == pytest.approx(12 / 17)
    assert iou_dataset(counts).item() == pytest.approx(6 / 11)
    assert {metric(counts).dtype for metric in (dice, iou, dice_dataset, iou_dataset)} == {torch.float64}


def test_perfect_inverted_and_empty_predictions() -> None:
    _, masks, _ = random_batch()
    assert (dice(count(masks, masks, (0.5,))) == 1).all()
    assert (iou(count(1 - masks, masks, (0.5,))) == 0).all()
    empty = torch.zeros_like(masks)
    assert (dice(count(empty, empty, THRESHOLDS)) == 1).all() and (iou(count(empty, empty, THRESHOLDS)) == 1).all()
    assert (dice(count(empty, masks, (0.5,))) == 0).all()


@pytest.mark.parametrize("threshold", [0.25, 0.4, 0.5])
def test_dice_and_iou_agree_with_torchmetrics_and_scikit_learn(threshold: float) -> None:
    probabilities, masks, _ = random_batch()
    counts = count(probabilities, masks, (threshold,)).at(0)
    for p, g, dice_value, iou_value in zip(probabilities, masks, dice(counts), iou(counts), strict=True):
        truth, prediction = g.flatten().numpy(), (p > threshold).flatten().numpy()
        assert dice_value.item() == pytest.approx(f1_score(truth, prediction), abs=1e-12)
        assert iou_value.item() == pytest.approx(jaccard_score(truth, prediction), abs=1e-12)
        assert dice_value.item() == pytest.approx(binary_f1_score(p, g.long(), threshold).item(), abs=1e-6)
        assert iou_value.item() == pytest.approx(binary_jaccard_index(p, g.long(), threshold).item(), abs=1e-6)
    everything = masks.flatten().numpy(), (probabilities > threshold).flatten().numpy()
    assert dice_dataset(counts).item() == pytest.approx(f1_score(*everything), abs=1e-12)
    assert iou_dataset(counts).item() == pytest.approx(jaccard_score(*everything), abs=1e-12)


def test_shapes_with_and_without_thresholds() -> None:
    probabilities, masks, _ = random_batch(num_images=4)
    counts = count(probabilities, masks, THRESHOLDS)
    assert dice(counts).shape == iou(counts).shape == (4, 91)
    assert dice_dataset(counts).shape == iou_dataset(counts).shape == (91,)
    assert dice(counts.at(45)).shape == (4,) and dice_dataset(counts.at(45)).shape == ()
    assert dice_dataset(counts.at(45)) == dice_dataset(counts)[45]


def test_batches_put_together_are_the_whole() -> None:
    probabilities, masks, _ = random_batch(num_images=5)
    parts = [count(p, g, THRESHOLDS) for p, g in zip(torch.split(probabilities, 2), torch.split(masks, 2), strict=True)]
    whole, joined = count(probabilities, masks, THRESHOLDS), Counts.cat(parts).cpu()
    assert all(torch.equal(a, b) for a, b in zip(vars(whole).values(), vars(joined).values(), strict=True))
    assert torch.equal(joined.sum().tp, whole.tp.sum(0))


def test_sums_of_a_large_dataset_do_not_overflow() -> None:
    # 3,669 images of 1,024 x 1,024 pixels: more than 32 bits hold, and than float32 counts exactly.
    counts = counts_of([2**20] * 3669, [0] * 3669, [1] * 3669, [0] * 3669)
    assert counts.sum().tp.item() == 2**20 * 3669
    assert dice_dataset(counts).item() == pytest.approx(2**21 / (2**21 + 1), abs=1e-15)


def test_best_threshold_is_of_the_mean_over_images() -> None:
    # Per-image means: 0.5, 0.75, 0.6; the pixels together would favour the last threshold (9 / 10).
    counts = counts_of([[10, 10, 90], [0, 5, 1]], [[0, 0, 20], [4, 5, 4]], [[0, 0, 0], [0, 5, 4]], [[0] * 3] * 2)
    means = dice(counts).mean(0)
    assert means.argmax() == 1 and dice_dataset(counts).argmax() == 2
    assert choose_threshold(counts, (0.2, 0.4, 0.6)) == 0.4


@pytest.mark.parametrize(
    ("tied", "expected"),
    [
        ([0.45, 0.55], 0.45),
        ([0.44, 0.56], 0.44),
        ([0.4, 0.6], 0.4),
        ([0.05, 0.95], 0.05),
        ([0.3, 0.6], 0.6),
        ([0.49, 0.5, 0.51], 0.5),
        (list(THRESHOLDS), 0.5),
        ([0.93], 0.93),
    ],
)
def test_ties_go_to_the_nearest_to_one_half_then_to_the_lower(tied: list[float], expected: float) -> None:
    tp = [[3 if threshold in tied else 2 for threshold in THRESHOLDS]] * 3
    zeros = [[0] * len(THRESHOLDS)] * 3
    assert choose_threshold(counts_of(tp, [[1] * len(THRESHOLDS)] * 3, zeros, zeros), THRESHOLDS) == expected


@pytest.mark.parametrize("seed", range(8))
def test_equal_means_tie_in_whatever_order_the_images_contribute(seed: int) -> None:
    # A sum in float64 depends on the order in its last bit: for some of these seeds the plain means differ.
    generator = torch.Generator().manual_seed(seed)
    tp, fp = torch.randint(1, 1000, (2, 500), generator=generator)
    order = torch.randperm(500, generator=generator)
    zeros = torch.zeros(500, 2, dtype=torch.int64)
    counts = Counts(torch.stack([tp, tp[order]], 1), torch.stack([fp, fp[order]], 1), zeros, zeros)
    assert choose_threshold(counts, (0.2, 0.5)) == 0.5
    assert choose_threshold(counts, (0.5, 0.9)) == 0.5


def test_batch_dice_by_hand() -> None:
    # Batches of two: (2 * 3 + s) / (8 + s) and, alone in the last one, (2 * 1 + s) / (4 + s).
    counts = counts_of([2, 1, 1], [0, 1, 1], [1, 0, 1], [1, 2, 1])
    assert dice_batch(counts, batch_size=2) == pytest.approx((6 / 8 + 2 / 4) / 2, abs=1e-6)
    assert dice_batch(counts, batch_size=3) == pytest.approx(8 / 12, abs=1e-6)
    assert dice_batch(counts, batch_size=2, smooth=1.0) == pytest.approx((7 / 9 + 3 / 5) / 2)
    assert dice_batch(counts_of([0], [0], [0], [4]), batch_size=8) == 1


def test_batch_dice_is_the_reports_formula() -> None:
    probabilities, masks, valid = random_batch(num_images=7)
    hard: list[float] = []
    soft: list[float] = []
    batches = (torch.split(tensor, 3) for tensor in (probabilities, masks, valid))
    for batch_p, batch_g, v in zip(*batches, strict=True):
        p, g = batch_p[v].double().numpy(), batch_g[v].double().numpy()
        for values, prediction in ((hard, p > np.float32(0.4)), (soft, p)):
            values.append((2 * (prediction * g).sum() + 1e-6) / (prediction.sum() + g.sum() + 1e-6))
    counts = count(probabilities, masks, (0.4,), valid).at(0)
    assert dice_batch(counts, batch_size=3) == pytest.approx(np.mean(hard), abs=1e-12)
    assert dice_batch_soft(soft_sums(probabilities, masks, valid), batch_size=3) == pytest.approx(np.mean(soft))


def test_soft_sums_by_hand() -> None:
    probabilities = torch.tensor([[0.25, 0.5], [1.0, 0.0]]).view(2, 1, 1, 2)
    masks = torch.tensor([[1.0, 1.0], [0.0, 1.0]]).view(2, 1, 1, 2)
    sums = soft_sums(probabilities, masks)
    assert sums.dtype == torch.float64
    assert sums.tolist() == [[0.75, 0.75, 2], [0, 1, 1]]
    assert soft_sums(probabilities, masks, masks > 0.5).tolist() == [[0.75, 0.75, 2], [0, 0, 1]]
    assert dice_batch_soft(sums, batch_size=1) == pytest.approx((1.5 / 2.75 + 0) / 2, abs=1e-6)
    assert dice_batch_soft(sums, batch_size=2) == pytest.approx(1.5 / 4.75, abs=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_counting_on_a_device_neither_waits_nor_differs() -> None:
    probabilities, masks, valid = random_batch()
    on_device = [tensor.cuda() for tensor in (probabilities, masks, valid)]
    count(on_device[0], on_device[1], THRESHOLDS)
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = count(on_device[0], on_device[1], THRESHOLDS, on_device[2])
        sums = soft_sums(*on_device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = count(probabilities, masks, THRESHOLDS, valid)
    assert all(torch.equal(a, b) for a, b in zip(vars(result.cpu()).values(), vars(expected).values(), strict=True))
    torch.testing.assert_close(sums.cpu(), soft_sums(probabilities, masks, valid))
