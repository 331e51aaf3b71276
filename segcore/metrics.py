"""Segmentation metrics: counts of pixels first, one division at the end; int64 and float64 throughout."""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import torch
from torch import Tensor

THRESHOLDS: tuple[float, ...] = tuple(round(0.05 + 0.01 * step, 2) for step in range(91))
"""The candidates of `choose_threshold`: 0.05 to 0.95 in steps of 0.01."""

SMOOTH = 1e-6


@dataclass(frozen=True)
class Counts:
    """True and false positives and negatives in pixels: int64 tensors of one shape, (N,) or (N, T).

    N: images.  T: thresholds.  Without an image dimension, () or (T,), after `sum`.
    """

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor

    def at(self, index: int) -> "Counts":
        """Counts (N,) at the threshold of this index, from counts (N, T)."""
        return Counts(self.tp[:, index], self.fp[:, index], self.fn[:, index], self.tn[:, index])

    def sum(self) -> "Counts":
        """Sums over the images: () from (N,), (T,) from (N, T)."""
        return Counts(self.tp.sum(0), self.fp.sum(0), self.fn.sum(0), self.tn.sum(0))

    def cpu(self) -> "Counts":
        """The same counts in the host's memory."""
        return Counts(self.tp.cpu(), self.fp.cpu(), self.fn.cpu(), self.tn.cpu())

    @staticmethod
    def cat(parts: Sequence["Counts"]) -> "Counts":
        """The images of all parts, in order; at least one part."""
        return Counts(
            tp=torch.cat([part.tp for part in parts]),
            fp=torch.cat([part.fp for part in parts]),
            fn=torch.cat([part.fn for part in parts]),
            tn=torch.cat([part.tn for part in parts]),
        )


@functools.lru_cache(maxsize=16)
def _boundaries(thresholds: tuple[float, ...], device: torch.device) -> Tensor:
    """Thresholds as float32 (T,); kept, because a copy to the device waits for all its work."""
    if not thresholds or any(low >= high for low, high in itertools.pairwise(thresholds)):
        raise ValueError(f"thresholds have to ascend, and be at least one; got {thresholds}")
    return torch.tensor(thresholds, dtype=torch.float32, device=device)


def count(
    probabilities_N1HW: Tensor, masks_N1HW: Tensor, thresholds: Sequence[float], valid_N1HW: Tensor | None = None
) -> Counts:
    """Counts (N, T) of each image at each threshold; a pixel is positive where p > threshold, as in float32.

    masks_N1HW: 0 or 1.  thresholds: ascending, else ValueError.  valid_N1HW: bool; False where a pixel is left out.
    One histogram an image, cumulated over its bins: the cost hardly depends on T, and the host does not wait.
    """
    boundaries = _boundaries(tuple(thresholds), probabilities_N1HW.device)
    num_images, num_bins = len(probabilities_N1HW), len(thresholds) + 1
    # p > threshold is false for NaN, while bucketize would put NaN above every threshold.
    probabilities = torch.nan_to_num(probabilities_N1HW.float(), nan=-math.inf, posinf=math.inf, neginf=-math.inf)
    # Bin b: p exceeds the first b thresholds.  Row 0: background, row 1: foreground, row 2: left out.
    bins = torch.bucketize(probabilities.flatten(1), boundaries)
    rows = (masks_N1HW > 0.5).long().flatten(1)
    if valid_N1HW is not None:
        rows = torch.where(valid_N1HW.flatten(1), rows, 2)
    images = torch.arange(num_images, device=rows.device)[:, None]
    cells = ((images * 3 + rows) * num_bins + bins).flatten()
    # Not bincount, which has to wait for the largest index.
    histogram = cells.new_zeros(num_images * 3 * num_bins).scatter_add_(0, cells, torch.ones_like(cells))
    histogram = histogram.view(num_images, 3, num_bins)
    negatives = histogram.cumsum(-1)[..., :-1]
    positives = histogram.sum(-1, keepdim=True) - negatives
    return Counts(tp=positives[:, 1], fp=positives[:, 0], fn=negatives[:, 1], tn=negatives[:, 0])


def _ratio_or_one(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Quotient in float64; 1 where the denominator is 0, which means that truth and prediction are both empty."""
    return torch.where(denominator == 0, 1.0, numerator.double() / denominator.double())


def dice(counts: Counts) -> Tensor:
    """Dice coefficient, 2TP / (2TP + FP + FN) (Dice 1945): float64 of the counts' shape in [0, 1].

    1 where truth and prediction are both empty.
    """
    return _ratio_or_one(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def iou(counts: Counts) -> Tensor:
    """Intersection over union, TP / (TP + FP + FN) (Jaccard 1901): float64 of the counts' shape in [0, 1].

    1 where truth and prediction are both empty.
    """
    return _ratio_or_one(counts.tp, counts.tp + counts.fp + counts.fn)


def dice_dataset(counts: Counts) -> Tensor:
    """Dice of the pixels of all images together: float64, () from counts (N,), (T,) from (N, T)."""
    return dice(counts.sum())


def iou_dataset(counts: Counts) -> Tensor:
    """IoU of the pixels of all images together: float64, () from counts (N,), (T,) from (N, T)."""
    return iou(counts.sum())


def choose_threshold(counts_NT: Counts, thresholds: Sequence[float]) -> float:
    """The threshold of the best mean per-image Dice; of equal ones the nearest to 0.5, then the lower.

    counts_NT: counts (N, T) of the validation images, T = len(thresholds).
    """
    # fsum rounds once, whatever the order: columns with the same values are equal to the last bit.
    totals = [math.fsum(column) for column in dice(counts_NT).T.tolist()]
    best = max(totals)
    ties = [threshold for threshold, total in zip(thresholds, totals, strict=True) if total == best]
    # As decimals: in binary 0.45 would be nearer to 0.5 than 0.55, and 0.56 nearer than 0.44.
    return min(ties, key=lambda threshold: (abs(Decimal(str(threshold)) - Decimal("0.5")), threshold))


def dice_batch(counts_N: Counts, batch_size: int, smooth: float = SMOOTH) -> float:
    """The report's Dice, (2 sum(p g) + smooth) / (sum p + sum g + smooth) of a batch, as the mean over batches.

    counts_N: counts (N,) in the order of the images; a batch is `batch_size` consecutive ones, the last may be smaller.
    """
    return _mean_over_batches(counts_N.tp, 2 * counts_N.tp + counts_N.fp + counts_N.fn, batch_size, smooth)


def soft_sums(probabilities_N1HW: Tensor, masks_N1HW: Tensor, valid_N1HW: Tensor | None = None) -> Tensor:
    """Sums over each image's valid pixels: p g, p, g; float64 (N, 3), for `dice_batch_soft`.

    probabilities_N1HW in [0, 1].  masks_N1HW: 0 or 1.  valid_N1HW: bool; False where a pixel is left out.
    """
    probabilities, masks = probabilities_N1HW.float().flatten(1), masks_N1HW.float().flatten(1)
    if valid_N1HW is not None:
        valid = valid_N1HW.flatten(1)
        probabilities, masks = torch.where(valid, probabilities, 0.0), torch.where(valid, masks, 0.0)
    terms = (probabilities * masks, probabilities, masks)
    return torch.stack([term.sum(1, dtype=torch.float64) for term in terms], dim=1)


def dice_batch_soft(sums_N3: Tensor, batch_size: int, smooth: float = SMOOTH) -> float:
    """The report's validation Dice: as `dice_batch`, with the probabilities themselves instead of p > threshold.

    sums_N3: `soft_sums` of the images in their order.
    """
    return _mean_over_batches(sums_N3[:, 0], sums_N3[:, 1] + sums_N3[:, 2], batch_size, smooth)


def _mean_over_batches(intersection_N: Tensor, size_N: Tensor, batch_size: int, smooth: float) -> float:
    """Mean over groups of images of (2 intersection + smooth) / (size + smooth)."""
    intersection = torch.stack([group.double().sum() for group in torch.split(intersection_N, batch_size)])
    size = torch.stack([group.double().sum() for group in torch.split(size_N, batch_size)])
    return ((2 * intersection + smooth) / (size + smooth)).mean().item()
