"""The fingerprint of a dataset: a hash of its content, remembered until a file changes."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from segcore.data.atomic import disk_errors
from segcore.data.index import Item, MaskFormat

MISSING = "missing"


def content_fingerprint(items: Sequence[Item], mask_format: MaskFormat, root: Path, cache_dir: Path) -> str:
    """Hexadecimal SHA-256 of the lists (order, part, name, breed), each image's and each mask's bytes.

    Paths do not enter it, so that a copy of the data has the same fingerprint.  The result is remembered below
    `cache_dir`, under a hash of every file's path, size and time stamps, so that unchanged data is hashed once.
    """
    remembered = cache_dir / "fingerprints" / f"{_listing_key(items, mask_format, root)}.json"
    try:
        return str(json.loads(remembered.read_text())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    fingerprint = _hash_content(items, mask_format)
    text = json.dumps({"fingerprint": fingerprint})
    with disk_errors(cache_dir, len(text)):
        remembered.parent.mkdir(parents=True, exist_ok=True)
        aside = remembered.with_name(f"{remembered.name}.{os.getpid()}")
        aside.write_text(text)
        aside.replace(remembered)
    return fingerprint


def _hash_content(items: Sequence[Item], mask_format: MaskFormat) -> str:
    paths = [path for item in items for path in (item.image, item.mask)]
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(_hash_file, paths, chunksize=64))
    digest = hashlib.sha256(f"{mask_format}\n".encode())
    for item, image, mask in zip(items, hashes[::2], hashes[1::2], strict=True):
        digest.update(json.dumps([item.part, item.name, item.breed, image, mask]).encode())
    return digest.hexdigest()


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return MISSING


def _listing_key(items: Sequence[Item], mask_format: MaskFormat, root: Path) -> str:
    # The change time is in it because unpacking and copying may set any modification time.
    digest = hashlib.sha256(f"{mask_format}\0{root.resolve()}\n".encode())
    for item in items:
        digest.update(json.dumps([item.part, item.name, item.breed, _stamp(item.image), _stamp(item.mask)]).encode())
    return digest.hexdigest()


def _stamp(path: Path) -> list[str | int]:
    try:
        status = path.stat()
    except OSError:
        return [str(path), MISSING]
    return [str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns]
