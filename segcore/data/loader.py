"""Batches for training and evaluation, made on the device from the cached uint8 pixels.

A pixel is one number of four bytes until a batch is made of it: red, green, blue and the mask's code are read, sent and
augmented together.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from segcore.data.augment import flip, resample, turning_grid
from segcore.data.cache import Part
from segcore.data.reading import BORDER, PET
from segcore.randomness import generator

Border = Literal["pet", "background", "ignore"]
# The rest is for the model and its activations.
RESIDENT_FRACTION = 0.25


@dataclass(frozen=True)
class Batch:
    """N images with their masks on the training device.

    images_N3HW: float32 in [0, 1], in the loader's memory layout.  masks_N1HW: float32, 1 pet, 0 background.
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
    it.  layout: of the images in memory.
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
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        self._pixels = _Pixels(part, device)
        self._batch_size = batch_size
        self._device = device
        self._seed = seed
        self._rotation_degrees = rotation_degrees
        self._flip_probability = flip_probability
        self._border = border
        self._layout = layout
        alone = batch_size > 1 and len(part) % batch_size == 1
        self.num_images = len(part) - alone
        self.num_batches = -(-self.num_images // batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from the number `start` on.

        All random numbers are drawn and moved to the device before the first.
        """
        order_N, angles_N, flips_N = self._draw(epoch)
        groups, angles, flips = (
            _in_groups(drawn_N[: self.num_images], self._batch_size)[start:] for drawn_N in (order_N, angles_N, flips_N)
        )
        for words_NHW, angles_of_group, flips_of_group in zip(self._pixels.stream(groups), angles, flips, strict=True):
            yield _to_batch(self._augment(words_NHW, angles_of_group, flips_of_group), self._border, self._layout)

    def _augment(self, words_NHW: Tensor, angles_N: Tensor, flips_N: Tensor) -> Tensor:
        if self._rotation_degrees:
            flips_N = flips_N if self._flip_probability else torch.zeros_like(flips_N)
            return resample(words_NHW, turning_grid(angles_N, flips_N, *words_NHW.shape[1:]))
        return flip(words_NHW, flips_N) if self._flip_probability else words_NHW

    def _draw(self, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        # Always all of them: arms without augmentation see the same order and the same streams.
        size = len(self._pixels)
        order_N = torch.randperm(size, generator=generator(self._seed, "order", epoch))
        augmentation = generator(self._seed, "augmentation", epoch)
        angles_N = (2 * torch.rand(size, generator=augmentation, dtype=torch.float64) - 1) * self._rotation_degrees
        flips_N = torch.rand(size, generator=augmentation) < self._flip_probability
        return order_N.to(self._pixels.device), angles_N.to(self._device), flips_N.to(self._device)


class EvaluationLoader:
    """Batches of a part in file order, without augmentation, the last smaller one included; channels last."""

    def __init__(self, part: Part, *, batch_size: int, device: torch.device, border: Border) -> None:
        self.part = part
        self._pixels = _Pixels(part, device)
        self._batch_size = batch_size
        self._border = border

    def __len__(self) -> int:
        return -(-len(self.part) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order_N = torch.arange(len(self.part), device=self._pixels.device)
        for words_NHW in self._pixels.stream(_in_groups(order_N, self._batch_size)):
            yield _to_batch(words_NHW, self._border, torch.channels_last)


class _Pixels:
    """A part's pixels: on the GPU as a whole where they fit well, else in the memory map."""

    def __init__(self, part: Part, device: torch.device) -> None:
        self._words_NHW = torch.from_numpy(part.pixels_NHW4).view(torch.int32).squeeze(-1)
        self._target = device
        self._resident = device.type == "cuda" and _fits(part, device)
        if self._resident:
            self._words_NHW = self._words_NHW.to(device)
        # Where the rows' numbers have to be.
        self.device = self._words_NHW.device

    def __len__(self) -> int:
        return len(self._words_NHW)

    def stream(self, groups: Sequence[Tensor]) -> Iterator[Tensor]:
        """For each group of rows their pixels on the device, int32 (N, H, W), a number a pixel.

        For a GPU that cannot hold them all the next group is read and pinned while the last one is in use.
        """
        if self._target.type == "cpu":
            # Not index_select, nor NumPy: they copy whole rows past the processor's caches, where the next step looks
            # for them, which makes that three times as slow.
            yield from (self._words_NHW[rows_N] for rows_N in groups)
        elif self._resident:
            yield from (self._words_NHW.index_select(0, rows_N) for rows_N in groups)
        elif groups:
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="pixels") as pool:
                staged = [pool.submit(self._pin, rows_N) for rows_N in groups[:1]]
                for following in [*groups[1:], None]:
                    words_NHW = staged.pop().result()
                    if following is not None:
                        staged.append(pool.submit(self._pin, following))
                    yield words_NHW.to(self._target, non_blocking=True)

    def _pin(self, rows_N: Tensor) -> Tensor:
        """Rows of the memory map, in memory that a GPU copies from by itself."""
        pinned_NHW = torch.empty(len(rows_N), *self._words_NHW.shape[1:], dtype=torch.int32, pin_memory=True)
        return torch.index_select(self._words_NHW, 0, rows_N, out=pinned_NHW)


def _in_groups(drawn_N: Tensor, size: int) -> list[Tensor]:
    return [drawn_N[start : start + size] for start in range(0, len(drawn_N), size)]


def _fits(part: Part, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return part.pixels_NHW4.nbytes <= RESIDENT_FRACTION * free


def _to_batch(words_NHW: Tensor, border: Border, layout: torch.memory_format) -> Batch:
    """Images and masks of pixels that are one number each: from the lowest byte up red, green, blue, code."""
    num_images, height, width = words_NHW.shape
    images_N3HW = torch.empty(num_images, 3, height, width, device=words_NHW.device, memory_format=layout)
    for channel in range(3):  # of whole planes, twice as fast as a slice of bytes
        images_N3HW[:, channel] = words_NHW >> 8 * channel & 255
    codes_N1HW = (words_NHW >> 24 & 255).unsqueeze(1)
    # Pet and border, 1 and 3, have the lowest bit set; background, 2, and what rotation fills in, 0, have not.
    pet_N1HW = codes_N1HW & 1 if border == "pet" else codes_N1HW == PET
    valid_N1HW = codes_N1HW != BORDER if border == "ignore" else None
    return Batch(images_N3HW.div_(255), pet_N1HW.float(), valid_N1HW)
