"""Any picture of a user as RGB pixels, and the truth that may belong to it, both upright."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base as Tag

from segcore.data import Border
from segcore.data.reading import BACKGROUND, BORDER, PET, UnreadableError, is_foreground, open_picture, to_rgb

Mask = NDArray[np.bool_]

UPRIGHT = 1
# What brings a picture of each EXIF orientation upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# EXIF orientations 6 and 8, a quarter turn each, undo one another; every other one undoes itself.
INVERSE_ORIENTATION = {6: 8, 8: 6}


@dataclass(frozen=True)
class Photo:
    """An RGB image as it is meant to be seen, and the EXIF orientation (1 to 8) that its file is stored with."""

    image: Image.Image
    orientation: int

    def as_stored(self, upright: Image.Image) -> Image.Image:
        """A picture of the photo's size, turned back so that it fits the file pixel by pixel."""
        return turn(upright, INVERSE_ORIENTATION.get(self.orientation, self.orientation))


def read_photo(path: Path) -> Photo:
    """The first frame of any picture that Pillow reads; transparency is dropped, as in training.

    Raises UnreadableError.
    """
    picture = open_picture(path, "image")
    orientation = picture.getexif().get(Tag.Orientation, UPRIGHT)
    if orientation not in range(1, 9):
        orientation = UPRIGHT
    return Photo(turn(to_rgb(picture), orientation), orientation)


def read_truth(path: Path, photo: Photo, border: Border) -> tuple[Mask, Mask | None]:
    """A photo's mask, upright, (H, W), and where its pixels count: (H, W), or None where all do.

    A picture with values from 1 to 3 alone is a trimap (1 pet, 2 background, 3 border); of any other, pixels that are
    neither 0 (black) nor transparent are pet.  Masks belong to the photo's pixels as they are stored.
    Raises UnreadableError.
    """
    picture = open_picture(path, "truth")
    width, height = photo.as_stored(photo.image).size
    if picture.size != (width, height):
        raise UnreadableError(f"the truth is {picture.width} x {picture.height} pixels, its image {width} x {height}")
    upright = turn(picture, photo.orientation)
    values = np.asarray(upright)
    if values.ndim == 3 or values.min() < PET or values.max() > BORDER:
        return is_foreground(upright), None
    pet = values != BACKGROUND if border == "pet" else values == PET
    return pet, values != BORDER if border == "ignore" else None


def turn(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture moved as a viewer moves one of this EXIF orientation (1 to 8)."""
    return picture if orientation == UPRIGHT else picture.transpose(TURNS[orientation])
