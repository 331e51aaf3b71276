"""Pictures of predictions and of a training: overlays, sheets and curves.  Arrays in, Pillow images out.

Colours are from Okabe and Ito's palette, which stays readable with every kind of colour vision.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Colour = tuple[int, int, int]

BLUE: Colour = (0, 114, 178)
SKY_BLUE: Colour = (86, 180, 233)
ORANGE: Colour = (230, 159, 0)
VERMILLION: Colour = (213, 94, 0)
YELLOW: Colour = (240, 228, 66)
INK: Colour = (34, 34, 34)
PAPER: Colour = (255, 255, 255)

PREDICTION, TRUTH = SKY_BLUE, ORANGE
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = BLUE, YELLOW, VERMILLION
LEGEND = (
    (TRUE_POSITIVE, "found (true positive)"),
    (FALSE_POSITIVE, "too much (false positive)"),
    (FALSE_NEGATIVE, "missed (false negative)"),
)

TINT = 0.45
TILE = 184
GAP = 6
MARGIN = 24
BLOCK_GAP = 32
TITLE_HEIGHT, HEADER_HEIGHT, CAPTION_HEIGHT, LEGEND_HEIGHT = 40, 22, 34, 34
ROWS_OF_ONE_BLOCK = 4


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One image of a sheet: image (H, W, 3) uint8, truth and prediction (H, W) bool, and a line of text.

    truth_HW: None where it is not known.  valid_HW: False on pixels that do not count as errors; None where all do.
    """

    image_HW3: Pixels
    truth_HW: Mask | None
    prediction_HW: Mask
    caption: str
    valid_HW: Mask | None = None


def overlay(image_HW3: Pixels, mask_HW: Mask, truth: Mask | None = None) -> Image.Image:
    """The image, tinted and outlined in sky blue where the mask is true, and with the truth's outline in orange."""
    tinted = _tint(image_HW3, mask_HW, PREDICTION)
    if truth is not None:
        tinted[_outline(truth)] = TRUTH
    return Image.fromarray(tinted)


def sheet(rows: Sequence[SheetRow], title: str) -> Image.Image:
    """Rows of image | truth | prediction | errors, or image | prediction where no row has a truth.

    Every picture fits into a tile of 184 pixels, whatever its size was; more than four rows stand in two blocks side
    by side.  Raises ValueError without rows.
    """
    if not rows:
        raise ValueError("a sheet needs at least one row")
    with_truth = any(row.truth_HW is not None for row in rows)
    columns = ("image", "truth", "prediction", "errors") if with_truth else ("image", "prediction")
    num_blocks = 1 if len(rows) <= ROWS_OF_ONE_BLOCK else 2
    num_lines = -(-len(rows) // num_blocks)
    fitted = [fit(row) for row in rows]
    line_height = max(len(row.image_HW3) for row in fitted) + CAPTION_HEIGHT
    block_width = len(columns) * (TILE + GAP) - GAP
    width = 2 * MARGIN + num_blocks * (block_width + BLOCK_GAP) - BLOCK_GAP
    top = MARGIN + TITLE_HEIGHT
    body = HEADER_HEIGHT + num_lines * line_height
    height = top + body + (LEGEND_HEIGHT if with_truth else 0) + MARGIN // 2
    canvas = Image.new("RGB", (width, height), PAPER)
    _text(canvas, (MARGIN, MARGIN), title, 19, width - 2 * MARGIN, bold=True)
    for block in range(num_blocks):
        left = MARGIN + block * (block_width + BLOCK_GAP)
        _draw_block(canvas, (left, top), fitted[block * num_lines : (block + 1) * num_lines], columns, line_height)
    if with_truth:
        _draw_legend(canvas, MARGIN, top + body + LEGEND_HEIGHT // 3)
    return canvas


def caption(name: str, dice: float, truth_HW: Mask | None) -> str:
    """A row's line of text; an empty truth is pointed out, because there any found pixel makes the Dice 0."""
    return f"{name} · Dice {dice:.3f}" + (
        " · the truth is empty" if truth_HW is not None and not truth_HW.any() else ""
    )


def curves(epochs: Sequence[Mapping[str, Any]], title: str) -> Image.Image:
    """Loss (training, validation) and validation Dice over the epochs, side by side.

    epochs: {"epoch": int, "metrics": {"train/loss": float, ...}} each; a metric that an epoch lacks leaves a gap.
    """
    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    loss_axes, dice_axes = figure.subplots(1, 2)
    loss_lines = {"train/loss": ("training", ORANGE), "val/loss": ("validation", BLUE)}
    dice_lines = {
        "val/dice_per_image": ("mean over images, threshold 0.5", BLUE),
        "val/dice_dataset": ("whole dataset, threshold 0.5", SKY_BLUE),
        "val/dice_batch_soft": ("mean over batches, soft (the report's)", ORANGE),
    }
    _plot(loss_axes, epochs, loss_lines, "loss (no unit)", "Loss")
    _plot(dice_axes, epochs, dice_lines, "Dice (0 to 1)", "Validation Dice")
    figure.suptitle(title, fontweight="bold")
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.fromarray(pixels).convert("RGB")


def choose_examples(dice: NDArray[np.floating[Any]], num: int) -> dict[str, list[int]]:
    """Indices of the `num` images of lowest Dice under "worst" and of highest under "best", the extreme one first.

    dice: (N,).  Fewer where N < num; of equal values the earlier image comes first.
    """
    return {
        "worst": np.argsort(dice, kind="stable")[:num].tolist(),
        "best": np.argsort(-dice, kind="stable")[:num].tolist(),
    }


def every_tenth_batch(num_images: int, batch_size: int, num: int) -> list[int]:
    """Ascending indices of at most `num` images that lie evenly over every tenth batch, the first one included.

    The report draws from every tenth batch of the test set; which images of the batch, it leaves open.
    """
    pool = [index for index in range(num_images) if index // batch_size % 10 == 0]
    num = min(num, len(pool))
    return [pool[int((step + 0.5) * len(pool) / num)] for step in range(num)]


def error_map(row: SheetRow) -> Pixels:
    """The image in dim grey, with true positives, false positives and false negatives in the legend's colours."""
    assert row.truth_HW is not None
    truth, prediction = row.truth_HW, row.prediction_HW
    grey = np.asarray(Image.fromarray(row.image_HW3).convert("L"))
    picture = np.repeat((grey // 3)[..., None], 3, axis=-1)
    for colour, where in (
        (TRUE_POSITIVE, truth & prediction),
        (FALSE_POSITIVE, prediction & ~truth),
        (FALSE_NEGATIVE, truth & ~prediction),
    ):
        counted = where if row.valid_HW is None else where & row.valid_HW
        picture[counted] = np.asarray(colour, np.float32) * 0.75 + grey[counted][:, None] * 0.25
    return picture


def _tint(image_HW3: Pixels, mask_HW: Mask, colour: Colour) -> Pixels:
    if image_HW3.shape != (*mask_HW.shape, 3):
        raise ValueError(f"the image has shape {image_HW3.shape}, its mask {mask_HW.shape}")
    picture = image_HW3.astype(np.float32)
    picture[mask_HW] += TINT * (np.asarray(colour, np.float32) - picture[mask_HW])
    picture[_outline(mask_HW)] = colour
    return picture.round().astype(np.uint8)


def _outline(mask_HW: Mask) -> Mask:
    """The mask's inner edge; its width grows with the picture, so that it can still be seen when shown smaller."""
    width = max(1, round(math.sqrt(min(mask_HW.shape)) / 7))
    framed = Image.fromarray(np.pad(mask_HW, width))
    eroded = np.asarray(framed.convert("L").filter(ImageFilter.MinFilter(2 * width + 1))) > 0
    inside: Mask = mask_HW & ~eroded[width:-width, width:-width]
    return inside


def fit(row: SheetRow) -> SheetRow:
    """The row at the size of a tile: the longer side becomes 184 pixels; photos smooth, masks nearest."""
    height, width = row.prediction_HW.shape
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(row.image_HW3).resize(size, Image.Resampling.LANCZOS)

    def resize(mask: Mask | None) -> Mask | None:
        return None if mask is None else np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))

    prediction = resize(row.prediction_HW)
    assert prediction is not None
    return SheetRow(np.asarray(image), resize(row.truth_HW), prediction, row.caption, resize(row.valid_HW))


def _draw_block(
    canvas: Image.Image, corner: tuple[int, int], rows: Sequence[SheetRow], columns: Sequence[str], line_height: int
) -> None:
    left, top = corner
    step = TILE + GAP
    for number, column in enumerate(columns):
        _text(canvas, (left + number * step, top), column, 13, TILE)
    for line, row in enumerate(rows):
        y = top + HEADER_HEIGHT + line * line_height
        tiles = _tiles(row)
        for number, column in enumerate(columns):
            if column in tiles:
                canvas.paste(Image.fromarray(tiles[column]), (left + number * step, y))
        _text(canvas, (left, y + len(row.image_HW3) + 4), row.caption, 13, len(columns) * step - GAP)


def _tiles(row: SheetRow) -> dict[str, Pixels]:
    tiles = {"image": row.image_HW3, "prediction": _tint(row.image_HW3, row.prediction_HW, PREDICTION)}
    if row.truth_HW is not None:
        tiles["truth"] = _tint(row.image_HW3, row.truth_HW, TRUTH)
        tiles["errors"] = error_map(row)
    return tiles


def _draw_legend(canvas: Image.Image, left: int, top: int) -> None:
    draw = ImageDraw.Draw(canvas)
    for colour, label in LEGEND:
        draw.rectangle((left, top, left + 14, top + 14), fill=colour, outline=INK)
        _text(canvas, (left + 20, top), label, 13, canvas.width)
        left += 20 + round(_font(13, False).getlength(label)) + 24


@functools.cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    # Comes with matplotlib, and knows more letters than Pillow's own.
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def _text(
    canvas: Image.Image, position: tuple[int, int], text: str, size: int, max_width: int, *, bold: bool = False
) -> None:
    """One line of text; of a longer one the middle is left out, since the ends tell names and numbers apart."""
    font = _font(size, bold)
    # Names of files need not be valid text.
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    kept = len(text)
    shown = text
    while font.getlength(shown) > max_width and kept > 2:
        kept -= 1
        shown = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
    ImageDraw.Draw(canvas).text(position, shown, fill=INK, font=font)


def _plot(
    axes: Axes, epochs: Sequence[Mapping[str, Any]], lines: Mapping[str, tuple[str, Colour]], unit: str, title: str
) -> None:
    numbers = [record["epoch"] for record in epochs]
    marker = "o" if len(numbers) <= 20 else None
    for metric, (label, colour) in lines.items():
        values = [record["metrics"].get(metric, float("nan")) for record in epochs]
        axes.plot(numbers, values, label=label, color=np.divide(colour, 255), marker=marker, markersize=4)
    axes.set(title=title, xlabel="epoch", ylabel=unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
