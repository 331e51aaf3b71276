from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcore.data import DataIndex, prepare_data
from segcore.data.folders import list_items as folder_items
from segcore.errors import UserError

Find = Callable[..., DataIndex]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Ten images `i0.jpg` to `i9.png` of two suffixes with masks of the same names, foreground in the upper half."""
    root = tmp_path / "own"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for i in range(10):
        Image.new("RGB", (4, 4), (20 * i, 0, 0)).save(root / "images" / f"i{i}.{'jpg' if i < 5 else 'PNG'}")
        mask = np.zeros((4, 4), np.uint8)
        mask[:2] = 255
        Image.fromarray(mask).save(root / "masks" / f"i{i}.png")
    return root


def names(index: DataIndex, part: tuple[int, ...]) -> list[str]:
    return [index.items[i].name for i in part]


def test_split_by_fraction_and_seed(folders: Path, find: Find) -> None:
    index = find(folders, "folders", test_fraction=0.3, validation_fraction=0.25)
    parts = [index.train, index.validation, index.test]
    assert [len(part) for part in parts] == [5, 2, 3]
    assert sorted(i for part in parts for i in part) == list(range(10))
    assert find(folders, "folders", test_fraction=0.3, validation_fraction=0.25) == index
    assert find(folders, "folders", test_fraction=0.3, validation_fraction=0.25, split_seed=1).test != index.test
    assert [item.name for item in index.items] == [f"i{i}" for i in range(10)]
    assert index.mask_format == "binary"


def test_lists_may_hold_names_with_and_without_suffix(folders: Path, find: Find) -> None:
    (folders / "train.txt").write_text("i3\ni1.jpg\n")
    (folders / "val.txt").write_text("i9.PNG\n")
    (folders / "test.txt").write_text("# held out\ni0\n")
    index = find(folders, "folders")
    assert names(index, index.train) == ["i3", "i1"]
    assert names(index, index.validation) == ["i9"]
    assert names(index, index.test) == ["i0"]


def test_some_of_the_lists_are_not_enough(folders: Path, find: Find) -> None:
    (folders / "train.txt").write_text("i3\n")
    with pytest.raises(UserError, match=r"val\.txt, test\.txt missing"):
        find(folders, "folders")


def test_masks_become_codes(tmp_path: Path, folders: Path, find: Find) -> None:
    index = find(folders, "folders")
    data = prepare_data(index, image_size=4, max_skipped_fraction=0, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(data.train.codes_NHW[0][:, 0], [1, 1, 2, 2])


def test_missing_masks_and_images_are_skipped_with_their_reason(tmp_path: Path, folders: Path, find: Find) -> None:
    (folders / "masks" / "i7.png").unlink()
    (folders / "train.txt").write_text("i3\ni1\ni7\nnowhere\n")
    (folders / "val.txt").write_text("i2\n")
    (folders / "test.txt").write_text("i0\n")
    index = find(folders, "folders")
    data = prepare_data(index, image_size=4, max_skipped_fraction=0.5, cache_dir=tmp_path / "cache")
    assert {item.name: item.reason for item in data.skipped} == {
        "i7": "the mask i7.png is missing",
        "nowhere": "the image nowhere is missing",
    }


def test_missing_and_empty_folders_say_what_is_wanted(tmp_path: Path, folders: Path, find: Find) -> None:
    with pytest.raises(UserError, match=r"nothing: the folder images/ is missing.*masks/NAME\.png"):
        find(tmp_path / "nothing", "folders")
    for path in (folders / "images").iterdir():
        path.unlink()
    (folders / "images" / "notes.txt").touch()
    (folders / "images" / "._i0.jpg").touch()
    with pytest.raises(UserError, match="no picture there"):
        find(folders, "folders")


def test_two_images_of_one_name_are_refused(folders: Path, find: Find) -> None:
    (folders / "images" / "i0.png").touch()
    with pytest.raises(UserError, match=r"i0\.jpg and i0\.png have the same name"):
        find(folders, "folders")


def test_too_few_for_the_split_names_the_setting(folders: Path, find: Find) -> None:
    for path in sorted((folders / "images").iterdir())[1:]:
        path.unlink()
    with pytest.raises(UserError, match=r"data\.test_fraction=0\.2: 1 images are too few"):
        find(folders, "folders")


def test_a_list_in_utf_16_is_refused_with_its_line(folders: Path, find: Find) -> None:
    (folders / "train.txt").write_text("i3\n")
    (folders / "val.txt").write_bytes("i9\n".encode("utf-16-le"))
    (folders / "test.txt").write_text("i0\n")
    with pytest.raises(UserError, match=r"val\.txt, line 1: a NUL byte.*UTF-8"):
        find(folders, "folders")


def test_the_layout_does_not_promise_jpeg_masks(tmp_path: Path, find: Find) -> None:
    with pytest.raises(UserError, match=r"images in any picture format, masks in any but JPEG"):
        find(tmp_path, "folders")


def test_a_file_name_that_would_steer_a_terminal_is_refused(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "a\x1b[2J.png")
    with pytest.raises(UserError, match=r"images: 'a\\x1b\[2J\.png' holds characters that cannot be seen"):
        folder_items(tmp_path)
