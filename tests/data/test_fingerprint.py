import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from segcore.data import DataIndex, fingerprint

Find = Callable[..., DataIndex]
Make = Callable[..., Path]


@pytest.fixture
def pets(tmp_path: Path, make_pets: Make) -> Path:
    return make_pets(tmp_path / "pets")


def test_a_copy_has_the_same_fingerprint(tmp_path: Path, pets: Path, find: Find) -> None:
    shutil.copytree(pets, tmp_path / "copy")
    first, second = find(pets), find(tmp_path / "copy", cache_dir=tmp_path / "other cache")
    assert first.fingerprint == second.fingerprint
    assert len(first.fingerprint) == 64
    assert int(first.fingerprint, 16) > 0


def test_every_kind_of_content_counts(pets: Path, find: Find) -> None:
    seen = {find(pets).fingerprint}
    Image.new("RGB", (8, 6), (1, 2, 3)).save(pets / "images" / "a_0.jpg")
    seen.add(find(pets).fingerprint)
    Image.new("L", (8, 6), 2).save(pets / "annotations" / "trimaps" / "b_0.png")
    seen.add(find(pets).fingerprint)
    trainval = pets / "annotations" / "trainval.txt"
    trainval.write_text("".join(reversed(trainval.read_text().splitlines(keepends=True))))
    seen.add(find(pets).fingerprint)
    (pets / "images" / "b_1.jpg").unlink()
    seen.add(find(pets).fingerprint)
    assert len(seen) == 5


def test_files_that_no_list_names_do_not_count(pets: Path, find: Find) -> None:
    before = find(pets).fingerprint
    (pets / "images" / "stray.mat").write_bytes(b"stray")
    assert find(pets).fingerprint == before


def test_unchanged_files_are_hashed_once(pets: Path, find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    before = find(pets).fingerprint

    def hash_file(path: Path) -> str:
        raise AssertionError(f"{path} was hashed again")

    monkeypatch.setattr(fingerprint, "_hash_file", hash_file)
    assert find(pets).fingerprint == before


def test_a_change_with_the_old_size_and_time_is_noticed(pets: Path, find: Find) -> None:
    image = pets / "images" / "a_0.jpg"
    before, status = find(pets).fingerprint, image.stat()
    content = bytearray(image.read_bytes())
    content[-3] ^= 1
    image.write_bytes(content)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert image.stat().st_mtime_ns == status.st_mtime_ns
    assert find(pets).fingerprint != before


def test_a_damaged_memory_is_ignored(tmp_path: Path, pets: Path, find: Find) -> None:
    before = find(pets).fingerprint
    remembered = next((tmp_path / "cache" / "fingerprints").iterdir())
    for text in ("", "[1]", "{}"):
        remembered.write_text(text)
        assert find(pets).fingerprint == before
