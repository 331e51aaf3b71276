"""Figures as files and as they stand on the page."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from analysis.figures import Picture, save
from analysis.numbers import flat
from analysis.reporting.model import Plate

FOLDER = "figures"
COLOURS = 128  # of a drawing on the page: lines and text stay clean, and the file is a third
MOST_OF_A_DRAWING = 20_000  # colours, soft edges included; photographs have more
JPEG_QUALITY = 82


def save_pictures(pictures: Sequence[Picture], output: Path) -> tuple[Plate, ...]:
    """Each figure as PNG and PDF below `output/figures`, and its copy for the page."""
    return tuple(save_picture(picture, output) for picture in pictures)


def save_picture(picture: Picture, output: Path) -> Plate:
    """One figure."""
    paths = {path.suffix: path for path in save(picture, output / FOLDER)}
    with Image.open(paths[".png"]) as image:
        drawing = image.convert("RGB")
    names = [path.relative_to(output).as_posix() for path in (paths[".png"], paths[".pdf"])]
    return Plate(
        name=picture.name,
        title=flat(picture.title),
        caption=flat(picture.caption),
        file=names[0],
        data=embed(drawing),
        width=drawing.width,
        height=drawing.height,
        pdf=names[1],
    )


def embed(picture: Image.Image) -> str:
    """A picture as a data URI: drawings as PNG with few colours, photographs as JPEG."""
    buffer = io.BytesIO()
    if picture.getcolors(MOST_OF_A_DRAWING) is None:
        picture.save(buffer, "jpeg", quality=JPEG_QUALITY, optimize=True)
        kind = "jpeg"
    else:
        few = picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(buffer, "png")
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
