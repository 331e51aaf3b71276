"""Batches for training and evaluation, made on the device from the cached uint8 pixels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from segcore.data.augment import flip, rotate
from segcore.data.cache import Part
from segcore.data.reading import BORDER, PET, Pixels
from segcore.randomness import generator

Border = Literal["pet", "background", "ignore"]
# The rest is for the model and its activations.
RESIDENT_FRACTION = 0.25


@dataclass(frozen=True)
class Batch:
    """N images with their masks on the training device.

    images_N3HW: float32 in [0, 1], channels last in memory.  masks_N1HW: float32, 1 pet, 0 background.
    valid_N1HW: bool, false on border pixels that do not count; None where every pixel counts.
    """

    images_N3HW: Tensor
    masks_N1HW: Tensor
    valid_N1HW: Tensor | None


class TrainLoader:
    """Shuffled, augmented batches of the training part, the same for the same seed and epoch.

    rotation_degrees: angles are uniform in +- this, 0 for none.  flip_probability: in [0, 1].
    border: whether trimap pixels of code 3 count as pet, as background or not at all.  Pixels that rotation fills in
    are black in the image and background in the mask.  A last batch of one image is left out: batch norm cannot use
    it.
    """

    def __init__(
        self,
        part: Part,
        *,
        batch_size: int,
        device: torch.device,
        seed: int,
        rotation_degrees: float,
        flip_probability: float,
        border: Border,
    ) -> None:
        self._pixels = _Pixels(part, device)
        self._batch_size = batch_size
        self._device = device
        self._seed = seed
        self._rotation_degrees = rotation_degrees
        self._flip_probability = flip_probability
        self._border = border
        alone = batch_size > 1 and len(part) % batch_size == 1
        self.num_images = len(part) - alone
        self.num_batches = -(-self.num_images // batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch.  All random numbers are drawn and moved to the device before the first."""
        order_N, angles_N, flips_N = self._draw(epoch)
        for start in range(0, self.num_images, self._batch_size):
            rows = slice(start, min(start + self._batch_size, self.num_images))
            pixels_N4HW = self._pixels.gather(order_N[rows])
            if self._rotation_degrees:
                pixels_N4HW = rotate(pixels_N4HW, angles_N[rows])
            if self._flip_probability:
                pixels_N4HW = flip(pixels_N4HW, flips_N[rows])
            yield _to_batch(pixels_N4HW, self._border)

    def _draw(self, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        # Always all of them: arms without augmentation see the same order and the same streams.
        size = len(self._pixels)
        order_N = torch.randperm(size, generator=generator(self._seed, "order", epoch))
        augmentation = generator(self._seed, "augmentation", epoch)
        angles_N = (2 * torch.rand(size, generator=augmentation, dtype=torch.float64) - 1) * self._rotation_degrees
        flips_N = torch.rand(size, generator=augmentation) < self._flip_probability
        return order_N.to(self._pixels.device), angles_N.to(self._device), flips_N.to(self._device)


class EvaluationLoader:
    """Batches of a part in file order, without augmentation, the last smaller one included."""

    def __init__(self, part: Part, *, batch_size: int, device: torch.device, border: Border) -> None:
        self.part = part
        self._pixels = _Pixels(part, device)
        self._batch_size = batch_size
        self._border = border

    def __len__(self) -> int:
        return -(-len(self.part) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order_N = torch.arange(len(self.part), device=self._pixels.device)
        for start in range(0, len(self.part), self._batch_size):
            rows_N = order_N[start : start + self._batch_size]
            yield _to_batch(self._pixels.gather(rows_N), self._border)


class _Pixels:
    """A part's pixels: on the GPU as a whole where they fit well, else in the memory map."""

    def __init__(self, part: Part, device: torch.device) -> None:
        self._part = part
        self._target = device
        self._resident: tuple[Tensor, Tensor] | None = None
        if device.type == "cuda" and _fits(part, device):
            self._resident = (_upload(part.images_NHW3, device), _upload(part.codes_NHW, device))
        # Where the rows' numbers have to be.
        self.device = device if self._resident is not None else torch.device("cpu")

    def __len__(self) -> int:
        return len(self._part)

    def gather(self, rows_N: Tensor) -> Tensor:
        """Float32 (N, 4, H, W), channels last: red, green, blue in 0..255 and the code in 0..3."""
        if self._resident is not None:
            images_NHW3, codes_NHW = (pixels.index_select(0, rows_N) for pixels in self._resident)
        else:
            rows = rows_N.numpy()
            images_NHW3 = _move(torch.from_numpy(self._part.images_NHW3[rows]), self._target)
            codes_NHW = _move(torch.from_numpy(self._part.codes_NHW[rows]), self._target)
        return torch.cat((images_NHW3, codes_NHW.unsqueeze(-1)), dim=-1).permute(0, 3, 1, 2).float()


def _fits(part: Part, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return part.images_NHW3.nbytes + part.codes_NHW.nbytes <= RESIDENT_FRACTION * free


def _upload(pixels: Pixels, device: torch.device) -> Tensor:
    return torch.tensor(pixels, dtype=torch.uint8, device=device)


def _move(pixels: Tensor, device: torch.device) -> Tensor:
    if device.type == "cpu":
        return pixels
    return pixels.pin_memory().to(device, non_blocking=True)


def _to_batch(pixels_N4HW: Tensor, border: Border) -> Batch:
    images_N3HW = (pixels_N4HW[:, :3] / 255).contiguous(memory_format=torch.channels_last)
    codes_N1HW = pixels_N4HW[:, 3:]
    pet_N1HW = codes_N1HW == PET
    if border == "pet":
        pet_N1HW |= codes_N1HW == BORDER
    valid_N1HW = codes_N1HW != BORDER if border == "ignore" else None
    return Batch(images_N3HW, pet_N1HW.float(), valid_N1HW)
