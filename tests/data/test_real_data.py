"""The real data, with its oddities; skipped where ../shared/data is absent."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from segcore.data import DataIndex, prepare_data
from segcore.data.index import Item
from segcore.data.reading import read_item

Find = Callable[..., DataIndex]


def test_pets_128_sizes_and_background_only_trimaps(shared_data: Path, tmp_path: Path, find: Find) -> None:
    index = find(shared_data / "pets-128", validation_fraction=0.2)
    assert (len(index.train), len(index.validation), len(index.test)) == (2944, 736, 3669)
    empty = sum(bool((np.asarray(Image.open(item.mask)) == 2).all()) for item in index.items)
    assert empty == 14
    assert {item.breed for item in index.items} == {None}
    again = find(shared_data / "pets-128", validation_fraction=0.2)
    assert again == index


def test_pets_600_is_read_whole(shared_data: Path, tmp_path: Path, find: Find) -> None:
    index = find(shared_data / "pets-600", validation_fraction=0.2)
    data = prepare_data(index, image_size=64, max_skipped_fraction=0, cache_dir=tmp_path / "cache")
    assert (len(data.train), len(data.validation), len(data.test)) == (240, 60, 298)
    assert set(data.test.breeds) == {"Abyssinian", "Bengal", "american_bulldog"}
    pet = (data.train.codes_NHW != 2).mean()
    assert 0.3 < pet < 0.6
    check_oddities(index.root)


def check_oddities(layout: Path) -> None:
    """The GIF and the PNG under the name .jpg are readable although no list names them."""
    odd = []
    for path in sorted((layout / "images").glob("*.jpg")):
        with Image.open(path) as image:
            if image.format != "JPEG":
                odd.append((path, str(image.format)))
    assert sorted(format for _, format in odd) == ["GIF", "PNG"]
    for path, _ in odd:
        mask = layout / "annotations" / "trimaps" / f"{path.stem}.png"
        pixels, codes = read_item(Item(path.stem, path, mask, "", None), 64, "trimap")
        assert pixels.shape == (64, 64, 3)
        assert set(np.unique(codes)) <= {1, 2, 3}
