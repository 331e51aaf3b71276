"""Small datasets that a person can look through."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segcore.data import DataIndex, find_data

SHARED_DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_pets() -> Callable[..., Path]:
    """Writes the official layout: `a_0` ... in trainval, `b_0` ... in test; each of one colour, its left half pet."""

    def make(root: Path, trainval: int = 8, test: int = 2, columns: str = "", size: tuple[int, int] = (8, 6)) -> Path:
        (root / "images").mkdir(parents=True)
        (root / "annotations" / "trimaps").mkdir(parents=True)
        for part, prefix, count in (("trainval", "a", trainval), ("test", "b", test)):
            names = [f"{prefix}_{i}" for i in range(count)]
            for i, name in enumerate(names):
                Image.new("RGB", size, (10 * i, 20, 30)).save(root / "images" / f"{name}.jpg")
                trimap = np.full(size[::-1], 2, np.uint8)
                trimap[:, : size[0] // 2] = 1
                Image.fromarray(trimap).save(root / "annotations" / "trimaps" / f"{name}.png")
            lines = "".join(f"{name}{columns}\n" for name in names)
            (root / "annotations" / f"{part}.txt").write_text(lines)
        return root

    return make


@pytest.fixture
def find(tmp_path: Path) -> Callable[..., DataIndex]:
    """find_data with the base's settings, its cache below the test's folder."""

    def find(root: Path, format: str = "pets", **changes: Any) -> DataIndex:
        settings: dict[str, Any] = {
            "download": False,
            "synthetic_images": 20,
            "validation_fraction": 0.25,
            "test_fraction": 0.2,
            "split_seed": 42,
            "cache_dir": tmp_path / "cache",
        }
        return find_data(root=root, format=format, **(settings | changes))

    return find


@pytest.fixture
def shared_data() -> Path:
    """The folder with real data, beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no real data: ../shared/data is absent")
    return SHARED_DATA
