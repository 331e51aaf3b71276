import json
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segcore.data import DataIndex, Part, PreparedData, cache, cache_bytes, find_prepared, prepare_data
from segcore.data.index import Item, MaskFormat
from segcore.data.reading import Pixels, read_item
from segcore.errors import UserError

Find = Callable[..., DataIndex]
Make = Callable[..., Path]


def prepare(index: DataIndex, cache_dir: Path, **changes: Any) -> PreparedData:
    settings: dict[str, Any] = {"image_size": 4, "max_skipped_fraction": 0.01, "cache_dir": cache_dir}
    return prepare_data(index, **(settings | changes))


def reds(part: Part) -> list[int]:
    return [int(red) for red in part.images_NHW3[:, 0, 0, 0]]


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the items that are decoded, as it happens."""
    names: list[str] = []

    def counting(item: Item, image_size: int, mask_format: MaskFormat) -> tuple[Pixels, Pixels]:
        names.append(item.name)
        return read_item(item, image_size, mask_format)

    monkeypatch.setattr(cache, "read_item", counting)
    return names


def test_parts_hold_the_pixels_of_their_names(tmp_path: Path, make_pets: Make, find: Find) -> None:
    data = prepare(find(make_pets(tmp_path / "pets")), tmp_path / "cache")
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 2)
    assert sorted(data.train.names + data.validation.names) == [f"a_{i}" for i in range(8)]
    assert data.test.names == ("b_0", "b_1")
    for part in (data.train, data.validation, data.test):
        # Image i is of red 10 i, up to what JPEG does to it.
        np.testing.assert_allclose(reds(part), [10 * int(name[2:]) for name in part.names], atol=3)
        np.testing.assert_array_equal(part.codes_NHW, np.broadcast_to([1, 1, 2, 2], (len(part), 4, 4)))
        assert list(part.names) == sorted(part.names)
        assert isinstance(part.pixels_NHW4, np.memmap)
        assert part.images_NHW3.dtype == np.uint8


def test_what_is_prepared_is_found_without_decoding(
    tmp_path: Path, make_pets: Make, find: Find, decodes: list[str]
) -> None:
    index = find(make_pets(tmp_path / "pets"))
    assert find_prepared(index, image_size=4, cache_dir=tmp_path / "cache") is None
    data = prepare(index, tmp_path / "cache")
    found = find_prepared(index, image_size=4, cache_dir=tmp_path / "cache")
    assert found is not None and found.train.names == data.train.names
    assert find_prepared(index, image_size=8, cache_dir=tmp_path / "cache") is None
    assert len(decodes) == 10
    pixels = sum(part.pixels_NHW4.nbytes for part in (data.train, data.validation, data.test))
    assert cache_bytes(index, 4) == pixels


def test_the_second_call_decodes_nothing(tmp_path: Path, make_pets: Make, find: Find, decodes: list[str]) -> None:
    index = find(make_pets(tmp_path / "pets"))
    first = prepare(index, tmp_path / "cache")
    assert len(decodes) == 10
    second = prepare(index, tmp_path / "cache")
    assert len(decodes) == 10
    assert first.fingerprint == second.fingerprint
    assert reds(first.train) == reds(second.train)
    prepare(index, tmp_path / "cache", image_size=5)
    assert len(decodes) == 20


def test_changed_data_is_decoded_anew(tmp_path: Path, make_pets: Make, find: Find) -> None:
    root = make_pets(tmp_path / "pets")
    prepare(find(root), tmp_path / "cache")
    Image.new("RGB", (8, 6), (250, 20, 30)).save(root / "images" / "b_1.jpg")
    assert reds(prepare(find(root), tmp_path / "cache").test)[1] > 240


@pytest.mark.parametrize("damage", ["short", "empty", "missing", "no index", "half an index", "other rows"])
def test_a_damaged_cache_is_rebuilt(tmp_path: Path, make_pets: Make, find: Find, damage: str) -> None:
    index = find(make_pets(tmp_path / "pets"))
    expected = reds(prepare(index, tmp_path / "cache").train)
    images = next((tmp_path / "cache").glob("*/pixels.npy"))
    listing = images.with_name("index.json")
    if damage == "short":
        os.truncate(images, images.stat().st_size - 1)
    elif damage == "empty":
        os.truncate(images, 0)
    elif damage == "missing":
        images.unlink()
    elif damage == "no index":
        listing.unlink()
    elif damage == "half an index":
        listing.write_text(listing.read_text()[:40])
    else:
        np.save(images, np.zeros((3, 4, 4, 4), np.uint8))
    assert reds(prepare(index, tmp_path / "cache").train) == expected
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_skipped_items_are_named_and_the_others_stay_in_place(tmp_path: Path, make_pets: Make, find: Find) -> None:
    root = make_pets(tmp_path / "pets")
    (root / "images" / "a_3.jpg").unlink()
    (root / "annotations" / "trimaps" / "b_0.png").write_bytes(b"no picture")
    data = prepare(find(root), tmp_path / "cache", max_skipped_fraction=0.2)
    reasons = {item.name: item.reason for item in data.skipped}
    assert reasons["a_3"] == "the image a_3.jpg is missing"
    assert "no picture" in reasons["b_0"]
    assert len(reasons) == 2
    assert data.test.names == ("b_1",)
    assert "a_3" not in data.train.names + data.validation.names
    np.testing.assert_allclose(reds(data.train), [10 * int(name[2:]) for name in data.train.names], atol=3)
    again = prepare(find(root), tmp_path / "cache", max_skipped_fraction=0.2)
    assert again.skipped == data.skipped


def test_too_many_skipped_is_an_error_that_names_some(tmp_path: Path, make_pets: Make, find: Find) -> None:
    root = make_pets(tmp_path / "pets", trainval=18)
    index = find(root)
    for i in index.train[:6]:
        index.items[i].image.unlink()
    index = find(root)
    with pytest.raises(
        UserError, match=r"6 of 20 .*data\.max_skipped_fraction=0\.2 .*a_\d+: the image a_\d+\.jpg.*\.\.\."
    ):
        prepare(index, tmp_path / "cache", max_skipped_fraction=0.2)
    # The setting is not part of the cache: raising it is enough.
    assert len(prepare(index, tmp_path / "cache", max_skipped_fraction=0.3).skipped) == 6


def test_a_part_without_readable_images_is_an_error(tmp_path: Path, make_pets: Make, find: Find) -> None:
    root = make_pets(tmp_path / "pets")
    for i in range(2):
        (root / "images" / f"b_{i}.jpg").unlink()
    with pytest.raises(UserError, match="0 images are left for test, which needs 1"):
        prepare(find(root), tmp_path / "cache", max_skipped_fraction=1.0)


def test_no_space_left_leaves_nothing(
    tmp_path: Path, make_pets: Make, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = find(make_pets(tmp_path / "pets"))

    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_write_header", full)
    with pytest.raises(UserError, match=r"cache: no space left; about .* MiB.*data\.cache_dir"):
        prepare(index, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("pets-*"))


def test_readers_stay_a_few_items_ahead_and_keep_the_order(
    tmp_path: Path, make_pets: Make, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    class CountingPool(ThreadPoolExecutor):
        def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
            begun.append(arguments[0].name)
            return super().submit(function, *arguments, **keywords)

    monkeypatch.setattr(cache, "ThreadPoolExecutor", CountingPool)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    index = find(make_pets(tmp_path / "pets", trainval=18))
    ahead: list[int] = []
    data = prepare(index, tmp_path / "cache", progress=lambda done, _: ahead.append(len(begun) - done))
    # Two threads, four items each, the one that was just written not counted; then the rest is waited for.
    assert ahead == [7] * 13 + [6, 5, 4, 3, 2, 1, 0]
    assert tuple(begun) == data.train.names + data.validation.names + data.test.names
    np.testing.assert_allclose(reds(data.train), [10 * int(name[2:]) for name in data.train.names], atol=3)


def test_an_error_of_a_reader_ends_the_reading(
    tmp_path: Path, make_pets: Make, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> tuple[Pixels, Pixels]:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cache, "read_item", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        prepare(find(make_pets(tmp_path / "pets")), tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("pets-*"))


def test_progress_and_breeds(tmp_path: Path, make_pets: Make, find: Find) -> None:
    calls: list[tuple[int, int]] = []
    index = find(make_pets(tmp_path / "pets", columns=" 1 1 1"))
    data = prepare(index, tmp_path / "cache", progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 10) for i in range(1, 11)]
    assert set(data.train.breeds) == {"a"}
    assert data.test.breeds == ("b", "b")


def test_the_listing_of_the_cache_is_plain_json(tmp_path: Path, make_pets: Make, find: Find) -> None:
    prepare(find(make_pets(tmp_path / "pets")), tmp_path / "cache")
    content = json.loads(next((tmp_path / "cache").glob("*/index.json")).read_text())
    assert content["parts"]["test"] == [["b_0", None], ["b_1", None]]
    assert content["skipped"] == []


@pytest.mark.parametrize("position", [200, -1])
def test_a_flipped_bit_is_noticed_where_the_cache_is_verified(
    tmp_path: Path, make_pets: Make, find: Find, decodes: list[str], position: int
) -> None:
    index = find(make_pets(tmp_path / "pets"))
    expected = reds(prepare(index, tmp_path / "cache").train)
    pixels = next((tmp_path / "cache").glob("*/pixels.npy"))
    content = bytearray(pixels.read_bytes())
    content[position] ^= 1
    pixels.write_bytes(content)
    prepare(index, tmp_path / "cache")
    assert len(decodes) == 10  # a worker trusts what its runner has verified
    data = prepare_data(index, image_size=4, max_skipped_fraction=1, cache_dir=tmp_path / "cache", verify=True)
    assert len(decodes) == 20
    assert reds(data.train) == expected
    prepare_data(index, image_size=4, max_skipped_fraction=1, cache_dir=tmp_path / "cache", verify=True)
    assert len(decodes) == 20
