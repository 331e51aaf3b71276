import gzip
import io
import tarfile
from pathlib import Path

import pytest

from segcore.data import archives
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
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


ANNOTATIONS = {f"annotations/{name}": b"a\n" for name in ("trainval.txt", "test.txt", "trimaps/a.png")}


def test_unpacks_both_archives_into_one_folder_once(tmp_path: Path) -> None:
    first = write_archive(tmp_path / "images.tar.gz", {"images/a.jpg": b"picture"})
    second = write_archive(tmp_path / "annotations.tar.gz", ANNOTATIONS)
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
    assert files_below(tmp_path) == ["images.tar.gz"]
    assert not Path("/tmp/outside-segcore.txt").exists()


@pytest.mark.parametrize("target", ["../../../etc/passwd", "/etc/passwd"])
def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path, target: str) -> None:
    archive = write_archive(tmp_path / "images.tar.gz", {"images/a.jpg": b"fine"}, ("images/b.jpg", target))
    with pytest.raises(UserError, match=r"images/b\.jpg"):
        unpack((archive,), tmp_path / "cache")
    assert files_below(tmp_path) == ["images.tar.gz"]


@pytest.mark.parametrize("damage", ["truncated", "no gzip", "no tar"])
def test_a_damaged_archive_is_named_and_leaves_nothing(tmp_path: Path, damage: str) -> None:
    archive = write_archive(tmp_path / "images.tar.gz", {"images/a.jpg": bytes(range(256)) * 400})
    content = archive.read_bytes()
    damaged = {"truncated": content[: len(content) // 2], "no gzip": b"<html>", "no tar": gzip.compress(b"text" * 999)}
    archive.write_bytes(damaged[damage])
    with pytest.raises(UserError, match=r"images\.tar\.gz: cannot be unpacked"):
        unpack((archive,), tmp_path / "cache")
    assert files_below(tmp_path) == ["images.tar.gz"]


@pytest.mark.parametrize(
    ("name", "members", "missing"),
    [
        ("images.tar.gz", {"photos/a.jpg": b"picture"}, r"images/\*\.jpg missing"),
        ("images.tar.gz", {}, r"images/\*\.jpg missing"),
        (
            "annotations.tar.gz",
            {"annotations/xmls/a.xml": b""},
            r"trainval\.txt, .*test\.txt, .*trimaps/\*\.png missing",
        ),
        ("annotations.tar.gz", {"annotations/test.txt": b"a\n"}, r"trainval\.txt, .*trimaps/\*\.png missing"),
    ],
)
def test_other_content_is_refused_and_leaves_nothing(
    tmp_path: Path, name: str, members: dict[str, bytes], missing: str
) -> None:
    archive = write_archive(tmp_path / name, members)
    with pytest.raises(UserError, match=rf"{name}: .*{missing} in it"):
        unpack((archive,), tmp_path / "cache")
    assert files_below(tmp_path) == [name]


def test_a_name_with_a_nul_byte_in_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "images.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("images/a.jpg")
        member.pax_headers = {"path": "images/a\0.jpg"}
        archive.addfile(member)
    with pytest.raises(UserError, match=r"images\.tar\.gz: cannot be unpacked"):
        unpack((path,), tmp_path / "cache")
    assert files_below(tmp_path) == ["images.tar.gz"]


def zeros(name: str, size: int) -> bytes:
    """An archive of one file of zeros, which packs a thousandfold."""
    member = tarfile.TarInfo(name)
    member.size = size
    return gzip.compress(member.tobuf() + bytes(size) + bytes(-size % 512 + 1024))


@pytest.mark.parametrize("kind", ["zeros", "claim", "sparse", "header", "members"])
def test_an_archive_that_would_fill_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(archives, "MOST_UNPACKED_AT_LEAST", 2**20)
    monkeypatch.setattr(archives, "MOST_MEMBERS", 100)
    archive = tmp_path / "images.tar.gz"
    member = tarfile.TarInfo("images/a.jpg")
    member.size = 2**40
    if kind == "zeros":
        archive.write_bytes(zeros("images/a.jpg", 50 * 2**20))
    elif kind == "claim":  # a terabyte that is not there
        archive.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(2048)))
    elif kind == "sparse":
        member.size, member.pax_headers = 512, {"GNU.sparse.size": str(2**40), "GNU.sparse.map": "0,512"}
        archive.write_bytes(gzip.compress(member.tobuf(tarfile.PAX_FORMAT) + bytes(2048)))
    elif kind == "header":  # read as a whole before any member is seen
        member.type, member.size = tarfile.XHDTYPE, 50 * 2**20
        archive.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(50 * 2**20)))
    else:
        write_archive(archive, {f"images/{number}.jpg": b"" for number in range(101)})
    with pytest.raises(UserError, match=r"images\.tar\.gz.*(unpacks to far more|no plain file)"):
        unpack((archive,), tmp_path / "cache")
    assert files_below(tmp_path) == ["images.tar.gz"]


def test_small_archives_that_pack_well_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "images.tar.gz").write_bytes(zeros("images/a.jpg", 10 * 2**20))
    folder = unpack((tmp_path / "images.tar.gz",), tmp_path / "cache")
    assert (folder / "images" / "a.jpg").stat().st_size == 10 * 2**20


def test_what_was_in_the_cache_before_stays(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "images.tar.gz", {"images/a.jpg": b"fine"})
    folder = unpack((archive,), tmp_path / "cache")
    before = files_below(tmp_path)
    archive.write_bytes(b"<html>")
    with pytest.raises(UserError):
        unpack((archive,), tmp_path / "cache")
    assert files_below(tmp_path) == before
    assert (folder / "images" / "a.jpg").read_bytes() == b"fine"


def test_refusals_of_the_disk_name_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_archive(tmp_path / "images.tar.gz", {"images/a.jpg": b"fine"})

    def refuse(*arguments: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "refused"))

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extractfile", refuse)
        with pytest.raises(UserError, match=r"unpacked: cannot be written.*denied.*refused.*data\.cache_dir"):
            unpack((archive,), tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(UserError, match=r"images\.tar\.gz: cannot be read.*denied.*data\.root"):
            unpack((archive,), tmp_path / "cache")
    assert files_below(tmp_path) == ["images.tar.gz"]
