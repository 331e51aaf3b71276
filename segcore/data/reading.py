"""One image and its mask from their files to uint8 arrays of the wanted size."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from segcore.data.index import Item, MaskFormat

PET, BACKGROUND, BORDER = 1, 2, 3
# What cameras and programs write.  Others of Pillow's formats start a program (EPS: Ghostscript) or hold no pixels.
PICTURE_FORMATS = (
    *("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "GIF", "BMP", "DIB", "PPM", "JPEG2000", "TGA", "PCX", "ICO", "QOI"),
)
SINGLE_CHANNEL_MODES = ("1", "L", "P", "I", "I;16")

Pixels = NDArray[np.uint8]


class UnreadableError(Exception):
    """This item cannot be used; the message is the reason, without the item's name."""


def read_item(item: Item, image_size: int, mask_format: MaskFormat) -> tuple[Pixels, Pixels]:
    """The image (S, S, 3) and its codes (S, S), 1 pet, 2 background, 3 border, with S = image_size.

    The image is resized with PIL's bicubic filter, its default, the mask with nearest.  An orientation in the EXIF
    data is not applied: masks are drawn on the pixels as they are stored.  Raises UnreadableError.
    """
    image = open_picture(item.image, "image")
    mask = open_picture(item.mask, "trimap" if mask_format == "trimap" else "mask")
    if mask.size != image.size:
        raise UnreadableError(
            f"the mask is {mask.size[0]} x {mask.size[1]} pixels, its image {image.size[0]} x {image.size[1]}"
        )
    codes = _trimap_codes(mask) if mask_format == "trimap" else _binary_codes(mask)
    size = (image_size, image_size)
    resized = to_rgb(image).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(resized), np.asarray(Image.fromarray(codes).resize(size, Image.Resampling.NEAREST))


@cache
def picture_formats() -> tuple[str, ...]:
    """Those of PICTURE_FORMATS that this Pillow was built with."""
    Image.init()
    return tuple(name for name in PICTURE_FORMATS if name in Image.OPEN)


def open_picture(path: Path, kind: str) -> Image.Image:
    """The decoded first frame of a picture of PICTURE_FORMATS, whatever its ending; `kind` names it in errors.

    Raises UnreadableError, also for a picture that claims more pixels than any photo has: nothing is decoded of it.
    """
    try:
        with Image.open(path, formats=picture_formats()) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
                raise UnreadableError(f"the {kind} has {image.width} x {image.height} pixels, too many to be one")
            image.load()
            return image
    except UnreadableError:
        raise
    except FileNotFoundError as error:
        raise UnreadableError(f"the {kind} {path.name} is missing") from error
    except UnidentifiedImageError as error:
        raise UnreadableError(f"the {kind} {path.name} is no picture of a known format") from error
    # Broken bytes make Pillow's decoders raise nearly everything, from SyntaxError to struct.error.
    except Exception as error:
        raise UnreadableError(f"the {kind} {path.name} cannot be read: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in 8-bit RGB; transparency is dropped.  Raises UnreadableError for modes of unknown range."""
    if image.mode.startswith("I;16"):
        # Pillow would clip at 255 instead of scaling.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnreadableError(f"the image has mode {image.mode}, whose range is not known; save it with 8 bits")
    return image.convert("RGB")


def _trimap_codes(trimap: Image.Image) -> Pixels:
    if trimap.mode not in SINGLE_CHANNEL_MODES:
        raise UnreadableError(f"the trimap has mode {trimap.mode}; it must have one channel with the values 1, 2, 3")
    values = np.asarray(trimap)
    if values.min() < PET or values.max() > BORDER:
        raise UnreadableError(f"the trimap has values from {int(values.min())} to {int(values.max())}, not 1 to 3")
    return values.astype(np.uint8)


def _binary_codes(mask: Image.Image) -> Pixels:
    if mask.format == "JPEG":
        raise UnreadableError("the mask is a JPEG, whose compression changes background pixels; save it as PNG")
    return np.where(is_foreground(mask), PET, BACKGROUND).astype(np.uint8)


def is_foreground(mask: Image.Image) -> NDArray[np.bool_]:
    """Which pixels (H, W) of a user's mask are neither 0 (black) nor transparent."""
    # Of a palette, the index counts, not the colour.
    values = np.asarray(mask)
    if values.ndim == 2:
        return np.asarray(values != 0)
    if mask.mode in ("LA", "RGBA"):
        return np.asarray(values[..., :-1].any(axis=-1) & (values[..., -1] > 0))
    return np.asarray(values.any(axis=-1))
