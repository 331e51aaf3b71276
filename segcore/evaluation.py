"""A model and a loader in, counts and metrics out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segcore.batches import LabelledBatch
from segcore.metrics import (
    Counts,
    count,
    dice,
    dice_batch,
    dice_batch_soft,
    dice_dataset,
    iou,
    iou_dataset,
    soft_sums,
)

# The report's threshold and the customary one, reported beside the chosen one.
FIXED_THRESHOLDS = (0.4, 0.5)


@dataclass(frozen=True)
class Evaluation:
    """What was counted on a set of N images at T thresholds, in the images' order, in the host's memory.

    counts: (N, T).  soft_sums: float64 (N, 3), as `metrics.soft_sums`.  loss: mean over batches; None without one.
    """

    counts: Counts
    thresholds: tuple[float, ...]
    soft_sums: Tensor
    loss: float | None

    def counts_at(self, threshold: float) -> Counts:
        """Counts (N,) at one of the thresholds."""
        return self.counts.at(self.thresholds.index(threshold))


def evaluate(
    model: nn.Module,
    batches: Iterable[LabelledBatch],
    *,
    thresholds: Sequence[float],
    device: torch.device,
    autocast: torch.dtype | None = None,
    loss: nn.Module | None = None,
    loss_batch: int = 1,
) -> Evaluation:
    """Count on all images, without autocast unless a type is given.

    thresholds: ascending, in (0, 1).  loss_batch: the images that the loss takes together, whatever the batches hold,
    so that a loss over a batch means what it means in training.
    """
    model.eval()
    counts, sums = [], []
    losses = None if loss is None else GroupedLoss(loss, loss_batch)
    with torch.inference_mode():
        for batch in batches:
            with torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None):
                logits = model(batch.images_N3HW)
            probabilities = logits.float().sigmoid()
            counts.append(count(probabilities, batch.masks_N1HW, thresholds, batch.valid_N1HW))
            sums.append(soft_sums(probabilities, batch.masks_N1HW, batch.valid_N1HW))
            if losses is not None:
                losses.add(logits, batch)
        mean_loss = losses.mean() if losses is not None else None
        return Evaluation(Counts.cat(counts).cpu(), tuple(thresholds), torch.cat(sums).cpu(), mean_loss)


class GroupedLoss:
    """The loss of every `size` consecutive images, however they arrive, and its mean over these groups."""

    def __init__(self, loss: nn.Module, size: int) -> None:
        self.loss = loss
        self.size = size
        self.losses: list[Tensor] = []
        self.waiting: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self.num_waiting = 0

    def add(self, logits: Tensor, batch: LabelledBatch) -> None:
        """Take a batch in, group by group."""
        start = 0
        while start < len(logits):
            rows = slice(start, start + self.size - self.num_waiting)
            valid = None if batch.valid_N1HW is None else batch.valid_N1HW[rows]
            self.waiting.append((logits[rows], batch.masks_N1HW[rows], valid))
            self.num_waiting += len(logits[rows])
            start += len(logits[rows])
            if self.num_waiting == self.size:
                self.close_group()

    def close_group(self) -> None:
        """The loss of the images that wait."""
        logits, masks, valid = zip(*self.waiting, strict=True)
        together = None if valid[0] is None else torch.cat(valid)
        self.losses.append(self.loss(torch.cat(logits), torch.cat(masks), together))
        self.waiting, self.num_waiting = [], 0

    def mean(self) -> float:
        """Mean over the groups, the last smaller one included."""
        if self.waiting:
            self.close_group()
        return torch.stack(self.losses).mean().item()


def compute_validation_metrics(evaluation: Evaluation, batch_size: int) -> dict[str, float]:
    """What is recorded of the validation images each epoch, at threshold 0.5; `evaluation` must hold a loss.

    batch_size: the group of images of the report's Dice, whatever the evaluation's own batch was.
    """
    assert evaluation.loss is not None
    counts = evaluation.counts_at(0.5)
    return {
        "val/loss": evaluation.loss,
        "val/dice_per_image": dice(counts).mean().item(),
        "val/dice_dataset": dice_dataset(counts).item(),
        "val/dice_batch_soft": dice_batch_soft(evaluation.soft_sums, batch_size),
    }


def compute_test_metrics(evaluation: Evaluation, threshold: float, batch_size: int) -> dict[str, float]:
    """What is recorded of the test images: at the chosen threshold, and beside it at 0.4 and 0.5.

    threshold: one of the evaluation's.  batch_size: as in `compute_validation_metrics`.
    """
    metrics = overlap_metrics("test", evaluation.counts_at(threshold))
    for fixed in FIXED_THRESHOLDS:
        metrics |= overlap_metrics(f"test_at_{fixed}", evaluation.counts_at(fixed))
    metrics["test_at_0.4/dice_batch"] = dice_batch(evaluation.counts_at(0.4), batch_size)
    return metrics


def overlap_metrics(prefix: str, counts: Counts) -> dict[str, float]:
    """Dice and IoU, as the mean over images and of the whole dataset, under `prefix`; counts: (N,)."""
    return {
        f"{prefix}/dice_per_image": dice(counts).mean().item(),
        f"{prefix}/dice_dataset": dice_dataset(counts).item(),
        f"{prefix}/iou_per_image": iou(counts).mean().item(),
        f"{prefix}/iou_dataset": iou_dataset(counts).item(),
    }
