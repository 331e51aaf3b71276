from collections.abc import Callable
from pathlib import Path

import pytest

from segcore.data.pets import find_layout, list_items
from segcore.errors import UserError

Make = Callable[..., Path]


def rewrite(root: Path, part: str, text: str) -> None:
    (root / "annotations" / f"{part}.txt").write_text(text)


def test_layout_in_the_root_or_in_torchvisions_folder(tmp_path: Path, make_pets: Make) -> None:
    direct = make_pets(tmp_path / "direct")
    below = make_pets(tmp_path / "root" / "oxford-iiit-pet")
    assert find_layout(direct, tmp_path / "cache") == direct
    assert find_layout(tmp_path / "root", tmp_path / "cache") == below
    assert find_layout(tmp_path / "nothing", tmp_path / "cache") is None


def test_one_archive_alone_names_the_other(tmp_path: Path) -> None:
    (tmp_path / "images.tar.gz").touch()
    with pytest.raises(UserError, match=r"annotations\.tar\.gz is missing.*robots\.ox\.ac\.uk"):
        find_layout(tmp_path, tmp_path / "cache")
    assert find_layout(tmp_path, tmp_path / "cache", partial=True) is None


def test_items_in_the_order_of_the_lists(tmp_path: Path, make_pets: Make) -> None:
    root = make_pets(tmp_path, trainval=3, test=2)
    rewrite(root, "trainval", "# a comment\n\na_2\na_0\r\n")
    (root / "images" / "stray.mat").touch()
    items = list_items(root)
    assert [(item.name, item.part) for item in items] == [
        ("a_2", "trainval"), ("a_0", "trainval"), ("b_0", "test"), ("b_1", "test")
    ]  # fmt: skip
    assert items[0].image == root / "images" / "a_2.jpg"
    assert items[0].mask == root / "annotations" / "trimaps" / "a_2.png"


def test_breeds_are_known_only_with_the_class_columns(tmp_path: Path, make_pets: Make) -> None:
    root = make_pets(tmp_path)
    rewrite(root, "trainval", "american_bulldog_10 2 2 1\npet_00001\n")
    breeds = [item.breed for item in list_items(root)]
    assert breeds[:2] == ["american_bulldog", None]


def test_a_missing_an_empty_and_an_unreadable_list_are_named(tmp_path: Path, make_pets: Make) -> None:
    root = make_pets(tmp_path)
    rewrite(root, "test", "# nothing\n")
    with pytest.raises(UserError, match=r"test\.txt: the list names no image"):
        list_items(root)
    (root / "annotations" / "test.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"test\.txt: the list cannot be read"):
        list_items(root)
    (root / "annotations" / "test.txt").unlink()
    with pytest.raises(UserError, match=r"test\.txt: the list cannot be read"):
        list_items(root)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "below\\it", "a\x1b[2J", "a\u202eb"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, make_pets: Make, name: str) -> None:
    root = make_pets(tmp_path)
    rewrite(root, "trainval", f"a_0\n{name}\n")
    with pytest.raises(UserError, match="not a plain file name"):
        list_items(root)


def test_a_picture_in_two_lists_is_refused(tmp_path: Path, make_pets: Make) -> None:
    root = make_pets(tmp_path)
    rewrite(root, "test", "b_0\na_1\n")
    with pytest.raises(UserError, match=r"a_1 stands in trainval\.txt and again in test\.txt"):
        list_items(root)


@pytest.mark.parametrize(("text", "line"), [("a_0\n\na_\0001\n", 3), ("a_0\n".encode("utf-16-le").decode(), 1)])
def test_a_nul_byte_names_file_and_line(tmp_path: Path, make_pets: Make, text: str, line: int) -> None:
    root = make_pets(tmp_path)
    rewrite(root, "trainval", text)
    with pytest.raises(UserError, match=rf"trainval\.txt, line {line}: a NUL byte.*UTF-8"):
        list_items(root)
