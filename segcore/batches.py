"""What a step of training or evaluation takes, whatever made it."""

from typing import Protocol

from torch import Tensor


class LabelledBatch(Protocol):
    """N images with their truth, on the device.

    images_N3HW: float32 in [0, 1].  masks_N1HW: float32, 0 or 1.  valid_N1HW: bool, False where a pixel counts for
    nothing; None where every pixel counts.
    """

    @property
    def images_N3HW(self) -> Tensor: ...
    @property
    def masks_N1HW(self) -> Tensor: ...
    @property
    def valid_N1HW(self) -> Tensor | None: ...
