"""The synthetic pet dataset: pictures of made-up breeds in the official layout, the same on every call."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from segcore.data.animals import BREEDS
from segcore.data.atomic import build_once
from segcore.data.scene import draw_scene
from segcore.errors import UserError

# Raised when the pictures change.
VERSION = 1
SIDES = (72, 129)
# Enough for each part of a split.
SMALLEST = 10
# Of five pictures in a row, three are for training and validation.
TRAINVAL_OF_FIVE = 3
# An upper bound: JPEG, trimap and a block of the file system each.
BYTES_A_PICTURE = 20_000
SPECIES = {"cat": 1, "dog": 2}


def generate(num_images: int, cache_dir: Path) -> Path:
    """The folder with `num_images` synthetic pictures, drawn below `cache_dir` the first time.

    60 % are in `trainval.txt`, the rest in `test.txt`, both with the columns name, class, species and breed.  Each
    picture has a generator of its own, so that the first 100 are the same in a set of 100 and in one of 300.  Raises
    UserError for less than 10.
    """
    if num_images < SMALLEST:
        raise UserError(f"data.synthetic_images={num_images}: too few for a split; use {SMALLEST} or more")
    target = cache_dir.absolute() / f"synthetic-{num_images}-v{VERSION}"
    build = partial(_write_all, num_images)
    return build_once(target, is_complete=Path.is_dir, build=build, needed=num_images * BYTES_A_PICTURE)


def _write_all(num_images: int, folder: Path) -> None:
    (folder / "images").mkdir()
    (folder / "annotations" / "trimaps").mkdir(parents=True)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(partial(_write_picture, folder), range(num_images)))
    trainval = [i for i in range(num_images) if i % 5 < TRAINVAL_OF_FIVE]
    test = [i for i in range(num_images) if i % 5 >= TRAINVAL_OF_FIVE]
    _write_list(folder / "annotations" / "trainval.txt", trainval)
    _write_list(folder / "annotations" / "test.txt", test)


def _write_picture(folder: Path, number: int) -> None:
    rng = np.random.Generator(np.random.PCG64([VERSION, number]))
    height, width = (int(side) for side in rng.integers(*SIDES, size=2))
    image, trimap = draw_scene(rng, (height, width), BREEDS[number % len(BREEDS)])
    name = _name(number)
    Image.fromarray(image).save(folder / "images" / f"{name}.jpg", quality=int(rng.integers(80, 95)))
    Image.fromarray(trimap).save(folder / "annotations" / "trimaps" / f"{name}.png")


def _write_list(path: Path, numbers: Sequence[int]) -> None:
    lines = ["# name class species breed"]
    for number in sorted(numbers, key=lambda number: (number % len(BREEDS), number)):
        breed = BREEDS[number % len(BREEDS)]
        within = 1 + sum(other.species == breed.species for other in BREEDS[: number % len(BREEDS)])
        lines.append(f"{_name(number)} {1 + number % len(BREEDS)} {SPECIES[breed.species]} {within}")
    path.write_text("\n".join(lines) + "\n")


def _name(number: int) -> str:
    return f"{BREEDS[number % len(BREEDS)].name}_{number // len(BREEDS) + 1}"
