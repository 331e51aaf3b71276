"""The two official archives, unpacked once and safely."""

import errno
import hashlib
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from segcore.data.atomic import OUT_OF_SPACE, build_once, root_errors
from segcore.errors import UserError

# JPEG and PNG hardly shrink in an archive; what does (lists, XML) is small.
UNPACKED_PER_PACKED = 1.3
WANTED = {
    "images.tar.gz": ("images/*.jpg",),
    "annotations.tar.gz": ("annotations/trainval.txt", "annotations/test.txt", "annotations/trimaps/*.png"),
}
ARCHIVES = tuple(WANTED)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def unpack(archives: tuple[Path, ...], cache_dir: Path) -> Path:
    """The folder with the content of `archives`, unpacked below `cache_dir` the first time.

    archives: of ARCHIVES, some or all.  Raises UserError naming the archive where a path or a link in it leaves the
    folder, where it is damaged or cannot be read, and where the pictures or lists are not in it; nothing is left
    behind then.
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


def _extract(archive: Path, folder: Path) -> None:
    with root_errors(archive):
        file = archive.open("rb")
    try:
        with file, tarfile.open(fileobj=file) as members:
            for member in members:
                if not _is_harmless(member):
                    raise UserError(
                        f"{archive}: its member {member.name!r} points outside the folder that it is unpacked to or is "
                        "no plain file; nothing was unpacked. Get the archive from its official source"
                    )
                _extract_member(members, member, folder / member.name)
    # ValueError and OverflowError: names with a NUL byte, time stamps beyond what the system knows.
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno in (*OUT_OF_SPACE, *NOT_WRITABLE):
            raise
        raise UserError(f"{archive}: cannot be unpacked ({error}); if it is damaged, get it again") from error


def _is_harmless(member: tarfile.TarInfo) -> bool:
    """Whether a member is a folder or a plain file below the folder that it is unpacked to.

    Stricter than tarfile's own data filter, which the first releases of Python 3.11 do not have: no links at all.
    """
    path = PurePosixPath(member.name)
    inside = not path.is_absolute() and ".." not in path.parts and "\\" not in member.name
    return inside and (member.isdir() or member.isreg())


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
