import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from segcore.data import DataIndex, find_data
from segcore.errors import UserError

Find = Callable[..., DataIndex]
Make = Callable[..., Path]


def test_missing_data_say_how_to_get_them_and_how_to_run_without(tmp_path: Path, find: Find) -> None:
    with pytest.raises(UserError) as error:
        find(tmp_path / "nowhere")
    message = str(error.value)
    for part in (
        "data.root=",
        "nowhere",
        "data.download=true",
        "images.tar.gz",
        "https://",
        "--preset demo",
        "synthetic",
    ):
        assert part in message


def test_an_unknown_format_lists_the_choices(tmp_path: Path, find: Find) -> None:
    with pytest.raises(UserError, match=r"data\.format=coco .*pets, folders, synthetic"):
        find(tmp_path, "coco")


def test_parts_of_the_pets(tmp_path: Path, make_pets: Make, find: Find) -> None:
    index = find(make_pets(tmp_path / "pets"))
    assert (len(index.train), len(index.validation), index.test) == (6, 2, (8, 9))
    assert sorted(index.train + index.validation) == list(range(8))
    assert (index.name, index.mask_format) == ("pets", "trimap")


def test_the_split_does_not_depend_on_unreadable_images(tmp_path: Path, make_pets: Make, find: Find) -> None:
    root = make_pets(tmp_path / "pets")
    before = find(root)
    (root / "images" / "a_0.jpg").unlink()
    after = find(root)
    assert (before.train, before.validation, before.test) == (after.train, after.validation, after.test)


def test_too_few_images_for_the_split(tmp_path: Path, make_pets: Make, find: Find) -> None:
    with pytest.raises(UserError, match=r"data\.validation_fraction=0\.25: 1 images are too few"):
        find(make_pets(tmp_path / "pets", trainval=1))


def test_archives_give_the_items_and_the_fingerprint_of_the_folder(tmp_path: Path, make_pets: Make, find: Find) -> None:
    root = make_pets(tmp_path / "folder")
    packed = tmp_path / "packed"
    packed.mkdir()
    for part in ("images", "annotations"):
        with tarfile.open(packed / f"{part}.tar.gz", "w:gz") as archive:
            archive.add(root / part, part)
    from_folder, from_archives = find(root), find(packed)
    assert from_archives.fingerprint == from_folder.fingerprint
    assert from_archives.train == from_folder.train
    assert from_archives.name == "packed"
    assert from_archives.items[0].image.is_relative_to(tmp_path / "cache")


def test_a_relative_root_and_cache(tmp_path: Path, make_pets: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pets(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    index = find_data(
        root=Path("pets"),
        format="pets",
        download=False,
        synthetic_images=0,
        validation_fraction=0.25,
        test_fraction=0.2,
        split_seed=42,
        cache_dir=Path("cache"),
    )
    assert index.name == "pets"


@pytest.mark.parametrize("format", ["pets", "folders"])
def test_a_root_without_permission_is_named(
    tmp_path: Path, find: Find, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(UserError, match=r"closed: cannot be read.*Permission denied.*closed/images.*data\.root"):
        find(tmp_path / "closed", format)


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path, find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("images", "masks"):
        (tmp_path / "own" / name).mkdir(parents=True)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UserError, match=r"own: cannot be read.*own/images.*data\.root"):
        find(tmp_path / "own", "folders")


@pytest.mark.parametrize("format", ["pets", "synthetic"])
def test_a_cache_that_is_a_file_is_named(tmp_path: Path, make_pets: Make, find: Find, format: str) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(UserError, match=r"cache: cannot be written.*data\.cache_dir"):
        find(make_pets(tmp_path / "pets"), format)
