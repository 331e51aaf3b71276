"""Folders that are either complete or absent, however many processes want them and whenever one is killed."""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from segcore.errors import UserError

PARTIAL = ".partial"
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)


def build_once(
    target: Path, *, is_complete: Callable[[Path], bool], build: Callable[[Path], None], needed: int
) -> Path:
    """The folder `target`, built by `build(temporary folder)` and renamed, unless it is complete already.

    One process builds while others wait at a lock beside the folder; whatever fails, nothing half-made stays.
    is_complete: whether an existing folder may be used; a damaged one is built anew.  needed: bytes that it takes.
    Raises UserError where the disk is full or cannot be written, and whatever else `build` raises.
    """
    if is_complete(target):
        return target
    with disk_errors(target.parent, needed):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target.parent)
        with FileLock(_lock(target)):
            if not is_complete(target):
                _build(target, build, needed)
    return target


def _build(target: Path, build: Callable[[Path], None], needed: int) -> None:
    partial = target.with_name(target.name + PARTIAL)
    shutil.rmtree(target, ignore_errors=True)
    shutil.rmtree(partial, ignore_errors=True)
    if shutil.disk_usage(target.parent).free < needed:
        raise no_space(target.parent, needed)
    try:
        partial.mkdir()
        build(partial)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def disk_errors(folder: Path, needed: int) -> Iterator[None]:
    """Turns what the disk of `folder` refuses into a UserError; needed: bytes that are to be written there."""
    try:
        yield
    except OSError as error:
        if error.errno in OUT_OF_SPACE:
            raise no_space(folder, needed) from error
        raise UserError(
            f"{folder}: cannot be written ({error}); make it writable or set data.cache_dir to another folder"
        ) from error


def remove_abandoned(folder: Path) -> None:
    """Removes the temporary folders of builders that died: those whose lock nobody holds."""
    for partial in folder.glob("*" + PARTIAL):
        try:
            with FileLock(_lock(partial.with_name(partial.name.removesuffix(PARTIAL))), timeout=0):
                shutil.rmtree(partial, ignore_errors=True)
        except Timeout:
            continue


def no_space(folder: Path, needed: int, setting: str = "data.cache_dir") -> UserError:
    """The error for a full disk, saying where, how much is needed and which setting moves it."""
    return UserError(
        f"{folder}: no space left; about {needed / 2**20:,.0f} MiB are needed there. Free some space, or set "
        f"{setting} to a folder on a larger disk"
    )


def _lock(target: Path) -> str:
    return str(target.with_name(target.name + ".lock"))
