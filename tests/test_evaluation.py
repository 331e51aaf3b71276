from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torchmetrics.functional.classification import binary_f1_score, binary_jaccard_index

from segcore.evaluation import compute_test_metrics, compute_validation_metrics, evaluate
from segcore.losses import BCEDiceLoss
from segcore.metrics import THRESHOLDS

CPU = torch.device("cpu")


@dataclass
class Batch:
    images_N3HW: torch.Tensor
    masks_N1HW: torch.Tensor
    valid_N1HW: torch.Tensor | None = None


class FirstChannel(nn.Module):
    """Takes the first channel of an image for its logits, so that a test writes the predictions."""

    def forward(self, images_N3HW):
        return images_N3HW[:, :1]


@pytest.fixture
def pictures():
    """Ten images of logits with their masks."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(10, 1, 8, 8, generator=generator)
    masks = (logits + torch.randn(10, 1, 8, 8, generator=generator) > 0).float()
    return logits, masks


def batches(logits, masks, size, valid=None):
    images = logits.expand(-1, 3, -1, -1)
    parts = [None] * 10 if valid is None else valid.split(size)
    return [Batch(*part) for part in zip(images.split(size), masks.split(size), parts, strict=False)]


def run(logits, masks, size, thresholds=THRESHOLDS, **arguments):
    return evaluate(FirstChannel(), batches(logits, masks, size), thresholds=thresholds, device=CPU, **arguments)


def test_per_image_metrics_are_those_of_torchmetrics(pictures):
    logits, masks = pictures
    metrics = compute_test_metrics(run(logits, masks, 4), 0.3, batch_size=4)
    probabilities = logits.sigmoid()
    for name, oracle in (("dice", binary_f1_score), ("iou", binary_jaccard_index)):
        for prefix, threshold in (("test", 0.3), ("test_at_0.4", 0.4), ("test_at_0.5", 0.5)):
            pairs = zip(probabilities, masks.int(), strict=True)
            per_image = torch.stack([oracle(p, g, threshold=threshold) for p, g in pairs]).mean()
            assert metrics[f"{prefix}/{name}_per_image"] == pytest.approx(per_image.item(), abs=1e-6)
            whole = oracle(probabilities.flatten(), masks.int().flatten(), threshold=threshold)
            assert metrics[f"{prefix}/{name}_dataset"] == pytest.approx(whole.item(), abs=1e-6)


def test_no_metric_depends_on_the_evaluations_own_batch(pictures):
    logits, masks = pictures
    loss = BCEDiceLoss()
    outcomes = []
    for size in (1, 3, 4, 10):
        evaluation = run(logits, masks, size, loss=loss, loss_batch=4)
        outcomes.append(
            compute_test_metrics(evaluation, 0.5, batch_size=3) | compute_validation_metrics(evaluation, batch_size=3)
        )
    assert outcomes[0] == pytest.approx(outcomes[1], rel=1e-6)
    assert outcomes[0] == pytest.approx(outcomes[2], rel=1e-6)
    assert outcomes[0] == pytest.approx(outcomes[3], rel=1e-6)


def test_the_reports_dice_is_that_of_its_batches(pictures):
    logits, masks = pictures
    evaluation = run(logits, masks, 10, loss=BCEDiceLoss(), loss_batch=10)
    hard, soft = [], []
    for part, truth in zip(logits.sigmoid().split(4), masks.split(4), strict=True):
        for values, predicted in ((hard, (part > 0.4).float()), (soft, part)):
            values.append((2 * (predicted * truth).sum() + 1e-6) / (predicted.sum() + truth.sum() + 1e-6))
    batch_dice = compute_test_metrics(evaluation, 0.5, batch_size=4)["test_at_0.4/dice_batch"]
    assert batch_dice == pytest.approx(torch.stack(hard).mean().item(), rel=1e-6)
    soft_dice = compute_validation_metrics(evaluation, batch_size=4)["val/dice_batch_soft"]
    assert soft_dice == pytest.approx(torch.stack(soft).mean().item(), rel=1e-6)


def test_the_loss_is_the_mean_over_training_batches(pictures):
    logits, masks = pictures
    loss = BCEDiceLoss()
    evaluation = run(logits, masks, 8, loss=loss, loss_batch=4)
    expected = torch.stack([loss(part, truth) for part, truth in zip(logits.split(4), masks.split(4), strict=True)])
    assert evaluation.loss == pytest.approx(expected.mean().item(), rel=1e-6)


def test_pixels_that_do_not_count_change_nothing(pictures):
    logits, masks = pictures
    valid = torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)) > 0.3
    spoilt = torch.where(valid, logits, -logits * 5)
    outcomes = []
    for values in (logits, spoilt):
        evaluation = evaluate(
            FirstChannel(), batches(values, masks, 5, valid), thresholds=THRESHOLDS, device=CPU, loss=BCEDiceLoss(),
            loss_batch=5,
        )  # fmt: skip
        outcomes.append(compute_test_metrics(evaluation, 0.5, 5) | compute_validation_metrics(evaluation, 5))
    assert outcomes[0] == pytest.approx(outcomes[1], rel=1e-6)


class Watching(nn.Module):
    """A network with weights that notes at each step whether gradients could be taken."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.steps = []

    def forward(self, images_N3HW):
        logits = self.norm(images_N3HW[:, :1])
        self.steps.append({"inference": torch.is_inference_mode_enabled(), "gradient": logits.requires_grad})
        return logits


def test_evaluation_leaves_no_gradient_and_uses_evaluation_mode(pictures):
    logits, masks = pictures
    model = Watching()
    model(logits)
    before = model.norm.running_mean.clone()
    evaluate(model, batches(logits, masks, 5), thresholds=(0.5,), device=CPU)
    assert model.steps == [{"inference": False, "gradient": True}] + [{"inference": True, "gradient": False}] * 2
    assert not model.training
    assert torch.equal(model.norm.running_mean, before)
