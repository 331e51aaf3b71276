"""Losses on logits, each the mean over a whole batch, computed in float32 whatever the precision of the logits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMOOTH = 1e-6


class BCELoss(nn.Module):
    """Binary cross-entropy with logits, the mean over all valid pixels."""

    def forward(self, logits_N1HW: Tensor, masks_N1HW: Tensor, valid_N1HW: Tensor | None = None) -> Tensor:
        """Scalar float32, at least 0; 0 where no pixel is valid.

        masks_N1HW: 0 or 1.  valid_N1HW: bool, False where a pixel counts for nothing; None: every pixel counts.
        """
        logits, masks = logits_N1HW.float(), masks_N1HW.float()
        if valid_N1HW is None:
            return F.binary_cross_entropy_with_logits(logits, masks)
        logits = torch.where(valid_N1HW, logits, 0.0)
        total = F.binary_cross_entropy_with_logits(logits, masks, weight=valid_N1HW.float(), reduction="sum")
        return total / valid_N1HW.sum().clamp(min=1)


class DiceLoss(nn.Module):
    """Soft Dice loss (Milletari, Navab and Ahmadi, 3DV 2016; here with the report's plain sums, not squares).

    1 - (2 sum(p g) + smooth) / (sum p + sum g + smooth) with p = sigmoid(logits), over the flattened batch.
    """

    def __init__(self, smooth: float = SMOOTH) -> None:
        super().__init__()
        self.smooth = smooth

    def forward(self, logits_N1HW: Tensor, masks_N1HW: Tensor, valid_N1HW: Tensor | None = None) -> Tensor:
        """Scalar float32 in [0, 1]; 0 where no pixel is valid.

        masks_N1HW: 0 or 1.  valid_N1HW: bool, False where a pixel counts for nothing; None: every pixel counts.
        """
        probabilities, masks = logits_N1HW.float().sigmoid(), masks_N1HW.float()
        if valid_N1HW is not None:
            probabilities = torch.where(valid_N1HW, probabilities, 0.0)
            masks = torch.where(valid_N1HW, masks, 0.0)
        intersection = (probabilities * masks).sum()
        return 1 - (2 * intersection + self.smooth) / (probabilities.sum() + masks.sum() + self.smooth)


class BCEDiceLoss(nn.Module):
    """Weighted sum of binary cross-entropy and soft Dice loss; the report's weights are 0.5 and 0.5."""

    def __init__(self, bce_weight: float = 0.5, dice_weight: float = 0.5) -> None:
        super().__init__()
        self.bce_weight = bce_weight
        self.dice_weight = dice_weight
        self.bce = BCELoss()
        self.dice = DiceLoss()

    def forward(self, logits_N1HW: Tensor, masks_N1HW: Tensor, valid_N1HW: Tensor | None = None) -> Tensor:
        """Scalar float32, at least 0; arguments as in `BCELoss`."""
        bce: Tensor = self.bce(logits_N1HW, masks_N1HW, valid_N1HW)
        dice: Tensor = self.dice(logits_N1HW, masks_N1HW, valid_N1HW)
        return self.bce_weight * bce + self.dice_weight * dice


LOSSES: dict[str, type[BCELoss] | type[DiceLoss] | type[BCEDiceLoss]] = {
    "bce": BCELoss,
    "dice": DiceLoss,
    "bce_dice": BCEDiceLoss,
}
