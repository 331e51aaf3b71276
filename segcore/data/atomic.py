"""Folders that are either complete or absent, however many processes want them and whenever one is killed."""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from segcore.errors import UserError
from segcore.leases import make_lease

PARTIAL = ".partial"
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)
RETRIES = 10


def build_once(
    target: Path, *, is_complete: Callable[[Path], bool], build: Callable[[Path], None], needed: int
) -> Path:
    """The folder `target`, built by `build(temporary folder)` and renamed, unless it is complete already.

    One process builds while others wait at a lease beside the folder, also on other machines; whatever fails, nothing
    stays: neither what is half-made, nor folders above that this call made and that are empty.
    is_complete: whether an existing folder may be used; a damaged one is built anew.  needed: bytes that it takes.
    Raises UserError where the disk is full or cannot be read or written, and whatever else `build` raises.
    """
    with disk_errors(target.parent, needed):
        if is_complete(target):
            return target
        remove_abandoned(target.parent)
        with _locked(target):
            if not is_complete(target):
                _build(target, build, needed)
        remove_abandoned(target.parent)  # of a builder on another machine, whose lease has expired meanwhile
    return target


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Holds the lease of `target`; after a failure, folders are gone, those that were there before excepted."""
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        with _acquire(target):
            yield
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def _acquire(target: Path) -> AbstractContextManager[object]:
    lease = make_lease(_lock(target))
    for _ in range(RETRIES):
        # Another process whose build failed may remove the folder between the two.
        with suppress(FileNotFoundError):
            target.parent.mkdir(parents=True, exist_ok=True)
            return lease.acquire()
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target.parent))


def _build(target: Path, build: Callable[[Path], None], needed: int) -> None:
    # A name of its own: a builder that was held up for longer than a lease lasts may go on beside the next one.
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
    shutil.rmtree(target, ignore_errors=True)
    if shutil.disk_usage(target.parent).free < needed:
        raise no_space(target.parent, needed)
    try:
        partial.mkdir()
        build(partial)
        try:
            partial.rename(target)
        except OSError:
            # Another builder has it, after all: one that was held up, or that took this one's lease.
            if not target.is_dir():
                raise
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


@contextmanager
def root_errors(path: Path) -> Iterator[None]:
    """Turns what the disk of data.root refuses into a UserError; path: data.root or what is read in it."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error}); make it readable or set data.root to another folder"
        ) from error


def remove_abandoned(folder: Path) -> None:
    """Removes the temporary folders of builders that died: those whose lease nobody holds."""
    # Another process whose build failed may remove the folder in between.
    with suppress(FileNotFoundError):
        for partial in folder.glob("*" + PARTIAL):
            lease = make_lease(_lock(partial.with_name(partial.name.removesuffix(PARTIAL).rpartition(".")[0])))
            with suppress(Timeout), lease.acquire(timeout=0):
                shutil.rmtree(partial, ignore_errors=True)


def no_space(folder: Path, needed: int, setting: str = "data.cache_dir") -> UserError:
    """The error for a full disk, saying where, how much is needed and which setting moves it."""
    return UserError(
        f"{folder}: no space left; about {needed / 2**20:,.0f} MiB are needed there. Free some space, or set "
        f"{setting} to a folder on a larger disk"
    )


def _lock(target: Path) -> Path:
    return target.with_name(target.name + ".lock")
