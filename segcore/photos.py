"""Any picture of a user as RGB pixels, and the truth that may belong to it, both upright."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base as Tag

from segcore.data import Border
from segcore.data.reading import BACKGROUND, BORDER, PET

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


class UnreadablePhotoError(Exception):
    """The file cannot be used; the message is the reason, without the file's name."""


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

    Raises UnreadablePhotoError.
    """
    picture = open_picture(path)
    orientation = picture.getexif().get(Tag.Orientation, UPRIGHT)
    if orientation not in range(1, 9):
        orientation = UPRIGHT
    if picture.mode.startswith("I;16"):
        # Pillow would clip at 255 instead of scaling.
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise UnreadablePhotoError(f"has mode {picture.mode}, whose range is not known; save it with 8 bits")
    return Photo(turn(picture.convert("RGB"), orientation), orientation)


def read_truth(path: Path, photo: Photo, border: Border) -> tuple[Mask, Mask | None]:
    """A photo's mask, upright, (H, W), and where its pixels count: (H, W), or None where all do.

    A picture with values from 1 to 3 alone is a trimap (1 pet, 2 background, 3 border); of any other, pixels that are
    neither 0 (black) nor transparent are pet.  Masks belong to the photo's pixels as they are stored.
    Raises UnreadablePhotoError.
    """
    picture = open_picture(path)
    width, height = photo.as_stored(photo.image).size
    if picture.size != (width, height):
        raise UnreadablePhotoError(f"is {picture.width} x {picture.height} pixels, its image {width} x {height}")
    # Of a palette, the index counts, not the colour.
    values = np.asarray(turn(picture, photo.orientation))
    if values.ndim == 3:
        has_alpha = picture.mode in ("LA", "RGBA")
        coloured: Mask = np.any(values[..., :-1] if has_alpha else values, axis=-1)
        return coloured & (values[..., -1] > 0) if has_alpha else coloured, None
    if values.min() < PET or values.max() > BORDER:
        return values != 0, None
    pet = values != BACKGROUND if border == "pet" else values == PET
    return pet, values != BORDER if border == "ignore" else None


def open_picture(path: Path) -> Image.Image:
    """The decoded first frame.  Raises UnreadablePhotoError."""
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
                raise UnreadablePhotoError(f"has {picture.width} x {picture.height} pixels, too many to be a picture")
            picture.load()
            return picture
    except UnreadablePhotoError:
        raise
    except FileNotFoundError:
        raise UnreadablePhotoError("is missing") from None
    # Broken bytes make Pillow's decoders raise nearly everything, from SyntaxError to struct.error.
    except Exception as error:
        raise UnreadablePhotoError(f"cannot be read as a picture ({type(error).__name__})") from error


def turn(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture moved as a viewer moves one of this EXIF orientation (1 to 8)."""
    return picture if orientation == UPRIGHT else picture.transpose(TURNS[orientation])
