"""The two official archives, unpacked once and safely."""

import errno
import gzip
import hashlib
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from segcore.data.atomic import OUT_OF_SPACE, build_once, root_errors
from segcore.errors import UserError

# JPEG and PNG hardly shrink in an archive; what does (lists, XML) is small.
UNPACKED_PER_PACKED = 1.3
# More than this is no picture archive but one that is made to fill a disk.  The floor is for small archives, of text.
MOST_UNPACKED_PER_PACKED = 20
MOST_UNPACKED_AT_LEAST = 64 * 2**20
# The two official ones hold 7,393 and 18,471.
MOST_MEMBERS = 200_000
GZIP = b"\x1f\x8b"
WANTED = {
    "images.tar.gz": ("images/*.jpg",),
    "annotations.tar.gz": ("annotations/trainval.txt", "annotations/test.txt", "annotations/trimaps/*.png"),
}
ARCHIVES = tuple(WANTED)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def unpack(archives: tuple[Path, ...], cache_dir: Path) -> Path:
    """The folder with the content of `archives`, unpacked below `cache_dir` the first time.

    archives: of ARCHIVES, some or all.  Raises UserError naming the archive where a path or a link in it leaves the
    folder, where it unpacks to far more than pictures do, where it is damaged or cannot be read, and where the pictures
    or lists are not in it; nothing is left behind then.
    """
    target = cache_dir.absolute() / "unpacked" / _key(archives)
    needed = int(UNPACKED_PER_PACKED * sum(archive.stat().st_size for archive in archives))

    def build(folder: Path) -> None:
        for archive in archives:
            _extract(archive, folder)
        for archive in archives:
            _check_content(archive, folder)

    return build_once(target, is_complete=Path.is_dir, build=build, needed=needed)


def _key(archives: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for archive in archives:
        status = archive.stat()
        digest.update(f"{archive.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\n".encode())
    return digest.hexdigest()[:16]


class _Bounded:
    """The unpacked bytes of an archive, up to a limit: whatever its members claim, no more is read or written."""

    def __init__(self, archive: Path, packed: IO[bytes]) -> None:
        is_packed = packed.read(len(GZIP)) == GZIP
        packed.seek(0)
        self.archive = archive
        self.source = gzip.GzipFile(fileobj=packed) if is_packed else packed
        self.left = max(MOST_UNPACKED_AT_LEAST, MOST_UNPACKED_PER_PACKED * archive.stat().st_size)

    def read(self, size: int) -> bytes:
        """The next bytes.  Raises UserError past the limit."""
        data = self.source.read(min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise _too_large(self.archive)
        return data


def _too_large(archive: Path) -> UserError:
    return UserError(
        f"{archive}: unpacks to far more than an archive of pictures does; nothing was unpacked. Get the archive from "
        "its official source"
    )


def _extract(archive: Path, folder: Path) -> None:
    with root_errors(archive):
        file = archive.open("rb")
    try:
        with file:
            bounded = _Bounded(archive, file)
            # As a stream, from which a member is read piece by piece, also one that claims to be huge.
            with tarfile.open(fileobj=bounded, mode="r|") as members:  # type: ignore[call-overload]
                _extract_members(archive, members, bounded, folder)
    # ValueError and OverflowError: names with a NUL byte, time stamps beyond what the system knows.
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno in (*OUT_OF_SPACE, *NOT_WRITABLE):
            raise
        raise UserError(f"{archive}: cannot be unpacked ({error}); if it is damaged, get it again") from error


def _extract_members(archive: Path, members: tarfile.TarFile, bounded: _Bounded, folder: Path) -> None:
    for number, member in enumerate(members, start=1):
        if not _is_harmless(member):
            raise UserError(
                f"{archive}: its member {member.name!r} points outside the folder that it is unpacked to or is "
                "no plain file; nothing was unpacked. Get the archive from its official source"
            )
        # A sparse member claims bytes that do not stand in the archive.
        if number > MOST_MEMBERS or member.size > bounded.left:
            raise _too_large(archive)
        _extract_member(members, member, folder / member.name)


def _is_harmless(member: tarfile.TarInfo) -> bool:
    """Whether a member is a folder or a plain file below the folder that it is unpacked to.

    Stricter than tarfile's own data filter, which the first releases of Python 3.11 do not have: no links at all.
    """
    path = PurePosixPath(member.name)
    inside = not path.is_absolute() and ".." not in path.parts and "\\" not in member.name
    return inside and (member.isdir() or (member.isreg() and not member.issparse()))


def _extract_member(members: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = members.extractfile(member)
    assert source is not None
    with source, target.open("wb") as destination:
        shutil.copyfileobj(source, destination)


def _check_content(archive: Path, folder: Path) -> None:
    missing = [pattern for pattern in WANTED[archive.name] if not any(folder.glob(pattern))]
    if missing:
        raise UserError(
            f"{archive}: {', '.join(missing)} missing in it; it is not the archive of Oxford-IIIT Pet. Get it from its "
            "official source, or set data.root to another folder"
        )
