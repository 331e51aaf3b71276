"""Pictures to measure with: real ones of full size where there are any, else synthetic ones of about that size."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from segcore.data import find_data
from segcore.data.synthetic import generate

SYNTHETIC_IMAGES = 400
# Most pictures of Oxford-IIIT Pet have a longer side of 500 pixels, and half a byte a pixel.
LONG_SIDE = 500
QUALITY = 94
GRAIN = 12.0


def find_pictures(root: Path | None, cache: Path) -> tuple[Path, tuple[str, ...]]:
    """A folder with `images/` and `annotations/`, and the names of its images in a fixed order, training ones first.

    root: Oxford-IIIT Pet or a part of it, unpacked or as its archives; without one, pictures of the same size are drawn
    below `cache`.  Raises UserError where there is none.
    """
    index = find_data(
        root=root or draw_pictures(cache, SYNTHETIC_IMAGES),
        format="pets",
        download=False,
        synthetic_images=0,
        validation_fraction=0.2,
        test_fraction=0.2,
        split_seed=42,
        cache_dir=cache,
    )
    order = (*index.train, *index.validation, *index.test)
    return index.root, tuple(index.items[position].name for position in order)


def draw_pictures(place: Path, number: int) -> Path:
    """The built-in synthetic pets, drawn at about 100 x 100, at the size of photographs: some 500 x 375 pixels.

    Each keeps its proportions and gets a longer side of 500; masks are enlarged by repeating pixels.  Fine grain makes
    files about as large as those of photographs, which is what decoding takes its time for.
    """
    drawn, folder = generate(number, place), place / "full-size"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    shutil.copytree(drawn / "annotations", folder / "annotations", dirs_exist_ok=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(enlarge_picture, drawn, folder), sorted((drawn / "images").glob("*.jpg"))))
    return folder


def enlarge_picture(drawn: Path, folder: Path, path: Path) -> None:
    """One picture and its mask from `drawn` to `folder`."""
    small, trimap = Image.open(path), Image.open(drawn / "annotations" / "trimaps" / f"{path.stem}.png")
    width, height = (round(side * LONG_SIDE / max(small.size)) for side in small.size)
    pixels_HW3 = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    grain_HW3 = GRAIN * np.random.default_rng(0).standard_normal(pixels_HW3.shape, dtype=np.float32)
    image = Image.fromarray((pixels_HW3 + grain_HW3).clip(0, 255).astype(np.uint8))
    image.save(folder / "images" / path.name, quality=QUALITY)
    trimap.resize((width, height), Image.Resampling.NEAREST).save(
        folder / "annotations" / "trimaps" / f"{path.stem}.png"
    )
