"""What a dataset consists of: its items in order, its three parts and the fingerprint of its content."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sklearn.model_selection import train_test_split

from segcore.errors import UserError

MaskFormat = Literal["trimap", "binary"]


@dataclass(frozen=True)
class Item:
    """One image with its mask; the files need not exist or be readable: that shows when the cache is built.

    part: the list that names it, such as `trainval`, or `` where there are no lists.  breed: None if unknown.
    """

    name: str
    image: Path
    mask: Path
    part: str
    breed: str | None


@dataclass(frozen=True)
class DataIndex:
    """All items of a dataset and which of them train, validate and test.

    items: in the order of the lists.  train, validation, test: ascending indices into `items`.
    mask_format: `trimap` (1 pet, 2 background, 3 border) or `binary` (0 background, everything else foreground).
    fingerprint: hexadecimal SHA-256 of lists, image bytes and mask bytes; the same wherever the data lies.
    """

    name: str
    root: Path
    items: tuple[Item, ...]
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    mask_format: MaskFormat
    fingerprint: str


def split(
    indices: Sequence[int], *, fraction: float, seed: int, setting: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The indices in two parts, the second holding `fraction` of them (rounded up), both ascending.

    The draw is scikit-learn's `train_test_split(random_state=seed)`.  fraction: in (0, 1).  seed: below 2**32.  Raises
    UserError, naming `setting`, if a part would be empty.
    """
    if len(indices) <= math.ceil(fraction * len(indices)):
        raise UserError(
            f"{setting}={fraction}: {len(indices)} images are too few for this split; add images or change {setting}"
        )
    rest, part = train_test_split(list(indices), test_size=fraction, random_state=seed)
    return tuple(sorted(rest)), tuple(sorted(part))
