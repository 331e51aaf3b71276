import gzip
import io
import tarfile
from pathlib import Path

import pytest

from segcore.data.archives import unpack
from segcore.errors import UserError


def write_archive(path: Path, members: dict[str, bytes], link: tuple[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if link is not None:
            member = tarfile.TarInfo(link[0])
            member.type, member.linkname = tarfile.SYMTYPE, link[1]
            archive.addfile(member)
    return path


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix != ".lock")


def test_unpacks_both_archives_into_one_folder_once(tmp_path: Path) -> None:
    first = write_archive(tmp_path / "images.tar.gz", {"images/a.jpg": b"picture"})
    second = write_archive(tmp_path / "annotations.tar.gz", {"annotations/test.txt": b"a\n"})
    folder = unpack((first, second), tmp_path / "cache")
    assert (folder / "images" / "a.jpg").read_bytes() == b"picture"
    assert (folder / "annotations" / "test.txt").read_bytes() == b"a\n"
    (folder / "images" / "a.jpg").write_bytes(b"not unpacked again")
    assert unpack((first, second), tmp_path / "cache") == folder
    assert (folder / "images" / "a.jpg").read_bytes() == b"not unpacked again"


def test_a_changed_archive_is_unpacked_anew(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "images.tar.gz", {"images/a.jpg": b"old"})
    old = unpack((archive,), tmp_path / "cache")
    write_archive(archive, {"images/a.jpg": b"new one"})
    new = unpack((archive,), tmp_path / "cache")
    assert (old / "images" / "a.jpg").read_bytes() == b"old"
    assert (new / "images" / "a.jpg").read_bytes() == b"new one"


@pytest.mark.parametrize("name", ["../outside.txt", "images/../../outside.txt", "/tmp/outside-segcore.txt"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = write_archive(tmp_path / "images.tar.gz", {"images/a.jpg": b"fine", name: b"evil"})
    with pytest.raises(UserError, match=r"images\.tar\.gz.*outside.*points outside"):
        unpack((archive,), tmp_path / "cache")
    assert files_below(tmp_path) == ["cache", "cache/unpacked", "images.tar.gz"]
    assert not Path("/tmp/outside-segcore.txt").exists()


@pytest.mark.parametrize("target", ["../../../etc/passwd", "/etc/passwd"])
def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path, target: str) -> None:
    archive = write_archive(tmp_path / "images.tar.gz", {"images/a.jpg": b"fine"}, ("images/b.jpg", target))
    with pytest.raises(UserError, match=r"images/b\.jpg"):
        unpack((archive,), tmp_path / "cache")
    assert files_below(tmp_path / "cache") == ["unpacked"]


@pytest.mark.parametrize("damage", ["truncated", "no gzip", "no tar"])
def test_a_damaged_archive_is_named_and_leaves_nothing(tmp_path: Path, damage: str) -> None:
    archive = write_archive(tmp_path / "images.tar.gz", {"images/a.jpg": bytes(range(256)) * 400})
    content = archive.read_bytes()
    damaged = {"truncated": content[: len(content) // 2], "no gzip": b"<html>", "no tar": gzip.compress(b"text" * 999)}
    archive.write_bytes(damaged[damage])
    with pytest.raises(UserError, match=r"images\.tar\.gz: cannot be unpacked"):
        unpack((archive,), tmp_path / "cache")
    assert files_below(tmp_path / "cache") == ["unpacked"]
