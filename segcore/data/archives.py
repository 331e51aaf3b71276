"""The two official archives, unpacked once and safely."""

import hashlib
import tarfile
import zlib
from pathlib import Path

from segcore.data.atomic import OUT_OF_SPACE, build_once
from segcore.errors import UserError

ARCHIVES = ("images.tar.gz", "annotations.tar.gz")
# JPEG and PNG hardly shrink in an archive; what does (lists, XML) is small.
UNPACKED_PER_PACKED = 1.3


def unpack(archives: tuple[Path, ...], cache_dir: Path) -> Path:
    """The folder with the content of `archives`, unpacked below `cache_dir` the first time.

    Raises UserError naming archive and member where a path or a link leaves the folder, and for a damaged archive;
    nothing is left behind then.
    """
    target = cache_dir.absolute() / "unpacked" / _key(archives)
    needed = int(UNPACKED_PER_PACKED * sum(archive.stat().st_size for archive in archives))

    def build(folder: Path) -> None:
        for archive in archives:
            _extract(archive, folder)

    return build_once(target, is_complete=Path.is_dir, build=build, needed=needed)


def _key(archives: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for archive in archives:
        status = archive.stat()
        digest.update(f"{archive.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _extract(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as members:
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
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno in OUT_OF_SPACE:
            raise
        raise UserError(f"{archive}: cannot be unpacked ({error}); if it is damaged, get it again") from error
