"""Losses against hand-worked values and formulas."""

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.segmentation import dice_score

from segcore.losses import LOSSES, BCEDiceLoss, BCELoss, DiceLoss


def image(*values: float) -> Tensor:
    """One image of one row: (1, 1, 1, len(values))."""
    return torch.tensor(values).view(1, 1, 1, -1)


def random_batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, masks and validity of shape (3, 1, 5, 7)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, 1, 5, 7, generator=generator)
    masks = (torch.rand(3, 1, 5, 7, generator=generator) > 0.5).float()
    return logits, masks, torch.rand(3, 1, 5, 7, generator=generator) > 0.3


def test_bce_by_hand() -> None:
    # sigmoid(ln 3) = 3/4: the pet costs -ln(3/4), the background -ln(1/4).
    logits = image(math.log(3), math.log(3))
    assert BCELoss()(logits, image(1, 0)).item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_dice_by_hand() -> None:
    # p = 3/4, 1/2, 1/4 and g = 1, 1, 0: sum p g = 5/4, sum p = 3/2, sum g = 2.
    loss = DiceLoss()(image(math.log(3), 0, -math.log(3)), image(1, 1, 0))
    assert loss.item() == pytest.approx(1 - 2.5 / 3.5, abs=1e-6)


def test_dice_is_of_the_flattened_batch_and_not_the_mean_of_images() -> None:
    logits = torch.cat([image(50, 50, 50, 50), image(50, -50, -50, -50)])
    masks = torch.cat([image(1, 1, 1, 1), image(0, 1, 0, 0)])
    # Intersection 4, prediction 5, truth 5; the images have losses of 0 and 1, whose mean would be 1/2.
    assert DiceLoss()(logits, masks).item() == pytest.approx(1 - 8 / 10)


def test_smoothing_decides_where_nothing_is_there() -> None:
    assert DiceLoss()(image(-100, -100), image(0, 0)).item() == pytest.approx(0)
    # p = 1/2 twice: 1 - (0 + 2) / (1 + 2).
    assert DiceLoss(smooth=2)(image(0, 0), image(0, 0)).item() == pytest.approx(1 / 3)


def test_bce_dice_weighs_its_parts() -> None:
    logits, masks, valid = random_batch()
    bce, dice = BCELoss()(logits, masks, valid), DiceLoss()(logits, masks, valid)
    torch.testing.assert_close(BCEDiceLoss()(logits, masks, valid), 0.5 * bce + 0.5 * dice)
    torch.testing.assert_close(BCEDiceLoss(0.2, 3.0)(logits, masks, valid), 0.2 * bce + 3 * dice)


def test_hard_dice_agrees_with_torchmetrics() -> None:
    logits, masks, _ = random_batch()
    prediction = (logits > 0).float()
    flat_prediction, flat_masks = prediction.reshape(1, 1, -1).long(), masks.reshape(1, 1, -1).long()
    expected = 1 - dice_score(flat_prediction, flat_masks, num_classes=1, input_format="one-hot").item()
    assert DiceLoss()(200 * prediction - 100, masks).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_perfect_prediction_costs_nothing_and_inverted_one_most(name: str) -> None:
    logits, masks, _ = random_batch()
    perfect, inverted = 200 * masks - 100, 100 - 200 * masks
    worst = {"bce": 100.0, "dice": 1.0, "bce_dice": 50.5}[name]
    loss = LOSSES[name]()
    assert loss(perfect, masks).item() == pytest.approx(0, abs=1e-6)
    assert loss(inverted, masks).item() == pytest.approx(worst, abs=1e-4)
    assert loss(perfect, masks) < loss(logits, masks) < loss(inverted, masks)


@pytest.mark.parametrize("name", LOSSES)
def test_all_valid_is_the_same_as_no_validity(name: str) -> None:
    logits, masks, _ = random_batch()
    loss = LOSSES[name]()
    torch.testing.assert_close(loss(logits, masks, torch.ones_like(masks, dtype=torch.bool)), loss(logits, masks))


@pytest.mark.parametrize("name", LOSSES)
def test_invalid_pixels_count_for_nothing(name: str) -> None:
    logits, masks, valid = random_batch()
    loss = LOSSES[name]()
    result = loss(logits, masks, valid)
    kept = loss(logits[valid].view(1, 1, 1, -1), masks[valid].view(1, 1, 1, -1))
    torch.testing.assert_close(result, kept)
    changed = loss(torch.where(valid, logits, math.inf), torch.where(valid, masks, 1 - masks), valid)
    assert changed == result


@pytest.mark.parametrize("name", LOSSES)
def test_invalid_pixels_have_no_gradient_even_where_not_finite(name: str) -> None:
    logits, masks, valid = random_batch()
    plain = logits.clone().requires_grad_()
    broken = torch.where(valid, logits, math.inf).requires_grad_()
    for tensor in (plain, broken):
        LOSSES[name]()(tensor, masks, valid).backward()
    assert plain.grad is not None and broken.grad is not None
    assert (plain.grad[~valid] == 0).all() and (plain.grad[valid] != 0).any()
    assert torch.equal(plain.grad, broken.grad)


@pytest.mark.parametrize("name", LOSSES)
def test_no_valid_pixel_costs_nothing(name: str) -> None:
    logits, masks, valid = random_batch()
    loss = LOSSES[name]()(logits.requires_grad_(), masks, torch.zeros_like(valid))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and (logits.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    logits, masks, valid = random_batch()
    loss = LOSSES[name]()
    for validity in (None, valid):
        result = loss(logits.to(dtype), masks, validity)
        assert result.dtype == torch.float32 and result.shape == ()
        assert result == loss(logits.to(dtype).float(), masks, validity)


def test_half_precision_sums_do_not_overflow() -> None:
    # 90,000 pixels: more than float16 can hold.
    logits = torch.full((1, 1, 300, 300), 20.0, dtype=torch.float16)
    assert DiceLoss()(logits, torch.ones(1, 1, 300, 300)).item() == pytest.approx(0, abs=1e-6)


def test_gradient_of_bce_is_probability_minus_truth() -> None:
    logits, masks, valid = random_batch()
    for validity, pixels in ((None, masks.numel()), (valid, int(valid.sum()))):
        leaf = logits.clone().requires_grad_()
        BCELoss()(leaf, masks, validity).backward()
        expected = (logits.sigmoid() - masks) / pixels
        expected = expected if validity is None else expected * validity
        assert leaf.grad is not None
        torch.testing.assert_close(leaf.grad, expected)


def test_gradient_of_dice_by_the_quotient_rule() -> None:
    logits, masks, _ = random_batch()
    leaf = logits.clone().requires_grad_()
    DiceLoss()(leaf, masks).backward()
    p, g = logits.double().sigmoid(), masks.double()
    numerator, denominator = 2 * (p * g).sum() + 1e-6, p.sum() + g.sum() + 1e-6
    expected = -(2 * g * denominator - numerator) / denominator**2 * p * (1 - p)
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, expected.float())
