from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcore.data import DataIndex, prepare_data
from segcore.data.animals import BREEDS
from segcore.data.pets import list_items
from segcore.data.synthetic import generate
from segcore.errors import UserError

Find = Callable[..., DataIndex]
NUM_IMAGES = 30


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(NUM_IMAGES, tmp_path_factory.mktemp("synthetic"))


def test_the_official_layout_with_breeds(layout: Path) -> None:
    items = list_items(layout)
    parts = [item.part for item in items]
    assert (parts.count("trainval"), parts.count("test")) == (18, 12)
    assert {item.breed for item in items} == {breed.name for breed in BREEDS}
    for item in items:
        with Image.open(item.image) as image, Image.open(item.mask) as trimap:
            assert image.format == "JPEG"
            assert image.size == trimap.size
            assert all(72 <= side <= 128 for side in image.size)


def test_trimaps_have_pet_background_and_a_border_between(layout: Path) -> None:
    for item in list_items(layout):
        trimap = np.asarray(Image.open(item.mask))
        assert set(np.unique(trimap)) == {1, 2, 3}
        assert 0.03 < (trimap != 2).mean() < 0.8
        # No pet pixel touches a background pixel.
        for first, second in ((trimap[1:], trimap[:-1]), (trimap[:, 1:], trimap[:, :-1])):
            assert not (np.sort([first, second], axis=0) == np.array([1, 2])[:, None, None]).all(axis=0).any()


def test_the_same_pictures_on_every_call_and_in_a_larger_set(layout: Path, tmp_path: Path) -> None:
    smaller = generate(12, tmp_path)
    for item in list_items(smaller):
        assert item.image.read_bytes() == (layout / "images" / item.image.name).read_bytes()
        assert item.mask.read_bytes() == (layout / "annotations" / "trimaps" / item.mask.name).read_bytes()


def test_colour_alone_does_not_tell_a_pet(layout: Path) -> None:
    inside, outside = [], []
    for item in list_items(layout):
        pixels, trimap = np.asarray(Image.open(item.image)), np.asarray(Image.open(item.mask))
        inside.append(pixels[trimap == 1].mean())
        outside.append(pixels[trimap == 2].mean())
    darker = np.mean(np.array(inside) < np.array(outside))
    assert 0.2 < darker < 0.8


def test_found_and_prepared_like_any_other_data(tmp_path: Path, find: Find) -> None:
    index = find(Path("unused"), "synthetic", synthetic_images=20)
    data = prepare_data(index, image_size=32, max_skipped_fraction=0, cache_dir=tmp_path / "cache")
    assert data.name == "synthetic-20-v1"
    assert (len(data.train), len(data.validation), len(data.test)) == (9, 3, 8)
    assert data.skipped == ()
    assert data.train.breeds[0] in {breed.name for breed in BREEDS}


def test_too_few_for_a_split(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.synthetic_images=9: too few"):
        generate(9, tmp_path)
    assert not any(tmp_path.iterdir())
