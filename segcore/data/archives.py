"""The two official archives, unpacked once and safely."""

import errno
import hashlib
import tarfile
import zlib
from pathlib import Path

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
                # The data filter would quietly make an absolute path relative.
                if member.name.startswith(("/", "\\")):
                    raise tarfile.AbsolutePathError(member)
                members.extract(member, folder, filter="data")
    except tarfile.FilterError as error:
        raise UserError(
            f"{archive}: its member {error.tarinfo.name!r} points outside the folder that it is unpacked to or is no "
            "plain file; nothing was unpacked. Get the archive from its official source"
        ) from error
    # ValueError and OverflowError: names with a NUL byte, time stamps beyond what the system knows.
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno in (*OUT_OF_SPACE, *NOT_WRITABLE):
            raise
        raise UserError(f"{archive}: cannot be unpacked ({error}); if it is damaged, get it again") from error


def _check_content(archive: Path, folder: Path) -> None:
    missing = [pattern for pattern in WANTED[archive.name] if not any(folder.glob(pattern))]
    if missing:
        raise UserError(
            f"{archive}: {', '.join(missing)} missing in it; it is not the archive of Oxford-IIIT Pet. Get it from its "
            "official source, or set data.root to another folder"
        )
