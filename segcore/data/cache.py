"""Images and masks decoded and resized once, as uint8 arrays that all runs share."""

import hashlib
import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from segcore.data.atomic import build_once
from segcore.data.index import DataIndex, Item, MaskFormat
from segcore.data.reading import Pixels, UnreadableError, read_item
from segcore.errors import UserError

# Raised when the meaning of the cached bytes changes.
FORMAT_VERSION = 3
PARTS = ("train", "validation", "test")
# Batch norm cannot train on a single image.
SMALLEST = {"train": 2, "validation": 1, "test": 1}
SHOWN_SKIPPED = 5
# Items that are read ahead of the writer, for each thread: enough that a slow one rarely makes the others wait.
READ_AHEAD = 4
# Items whose checksum is computed in one piece.
ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Skipped:
    """An item that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Part:
    """One part of a dataset: N items in file order.

    pixels_NHW4: memory-mapped uint8: red, green, blue, and the mask's code, 1 pet, 2 background, 3 border.
    breeds: None where unknown.
    """

    names: tuple[str, ...]
    breeds: tuple[str | None, ...]
    pixels_NHW4: Pixels

    @property
    def images_NHW3(self) -> Pixels:
        """The images alone."""
        return self.pixels_NHW4[..., :3]

    @property
    def codes_NHW(self) -> Pixels:
        """The masks' codes alone."""
        return self.pixels_NHW4[..., 3]

    def __len__(self) -> int:
        return len(self.names)


def pack(images: Pixels, codes: Pixels) -> Pixels:
    """Images (..., H, W, 3) and their codes (..., H, W) as pixels of four bytes (..., H, W, 4)."""
    return np.concatenate((images, codes[..., None]), axis=-1)


@dataclass(frozen=True)
class PreparedData:
    """A dataset ready for training: three parts of uint8 pixels, and what had to be left out."""

    name: str
    fingerprint: str
    train: Part
    validation: Part
    test: Part
    skipped: tuple[Skipped, ...]


def prepare_data(
    index: DataIndex,
    *,
    image_size: int,
    max_skipped_fraction: float,
    cache_dir: Path,
    verify: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PreparedData:
    """The pixels of `index` at image_size x image_size, from the cache below `cache_dir` or decoded into it.

    verify: whether a cache is read through and held against its checksum first, a second for each GB; a damaged one is
    made anew.

    max_skipped_fraction: more unreadable items than this share of all raise UserError, as do a part that is left
    with too few and a full disk.  progress: called with (items decoded, items in all) while the cache is built.
    """
    target = cache_dir / _key(index, image_size)

    def build(folder: Path) -> None:
        _build(folder, index, image_size, progress)

    needed = cache_bytes(index, image_size)

    def is_complete(folder: Path) -> bool:
        return _open(folder, index) is not None and (not verify or _is_sound(folder))

    build_once(target, is_complete=is_complete, build=build, needed=needed)
    data = _open(target, index)
    assert data is not None
    _check(data, index, max_skipped_fraction)
    return data


def find_prepared(index: DataIndex, *, image_size: int, cache_dir: Path) -> PreparedData | None:
    """What `prepare_data` would find in the cache; None where it would have to decode."""
    return _open(cache_dir / _key(index, image_size), index)


def cache_bytes(index: DataIndex, image_size: int) -> int:
    """What the decoded dataset takes: 4 bytes a pixel, RGB and code."""
    return len(index.items) * image_size * image_size * 4


def _key(index: DataIndex, image_size: int) -> str:
    parts = {part: getattr(index, part) for part in PARTS}
    text = json.dumps([FORMAT_VERSION, index.fingerprint, index.mask_format, image_size, parts])
    return f"{index.name}-{image_size}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _build(folder: Path, index: DataIndex, image_size: int, progress: Callable[[int, int], None] | None) -> None:
    order = [(part, index.items[i]) for part in PARTS for i in getattr(index, part)]
    kept: dict[str, list[Item]] = {part: [] for part in PARTS}
    skipped, checksum = [], 0
    with (folder / "pixels.npy").open("wb") as pixels:
        size = _write_header(pixels, (len(order), image_size, image_size, 4))
        results = _read_all([item for _, item in order], image_size, index.mask_format)
        for done, ((part, item), result) in enumerate(zip(order, results, strict=True), start=1):
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                row = pack(*result).tobytes()
                checksum = zlib.crc32(row, checksum)
                pixels.write(row)
                kept[part].append(item)
            if progress is not None:
                progress(done, len(order))
        # The rows of skipped items follow the last, unused and without content.
        pixels.truncate(size)
    parts = {part: [[item.name, item.breed] for item in items] for part, items in kept.items()}
    content = {"parts": parts, "skipped": [asdict(item) for item in skipped], "crc32": checksum}
    (folder / "index.json").write_text(json.dumps(content))


def _is_sound(folder: Path) -> bool:
    """Whether the pixels are those that were written."""
    content: dict[str, Any] = json.loads((folder / "index.json").read_text())
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")  # noqa: TID251
    checksum, used = 0, sum(len(items) for items in content["parts"].values())
    for start in range(0, used, ROWS_AT_ONCE):
        checksum = zlib.crc32(np.ascontiguousarray(pixels[start : min(used, start + ROWS_AT_ONCE)]).data, checksum)
    return checksum == content.get("crc32")


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """Begins a .npy file, whose rows follow by plain writes: a full disk is an error there, a crash in a memory map."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.tell() + int(np.prod(shape))


def _read_all(
    items: Sequence[Item], image_size: int, mask_format: MaskFormat
) -> Iterator[tuple[Pixels, Pixels] | Skipped]:
    """The items' pixels in their order, read by threads that stay a few items ahead.

    `Executor.map` would go on to the last: behind one slow file, decoded images would pile up by the GB.
    """
    read = partial(_read_or_skip, image_size=image_size, mask_format=mask_format)
    num_threads = os.cpu_count() or 1
    ahead = deque[Future[tuple[Pixels, Pixels] | Skipped]]()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for item in items:
                if len(ahead) == READ_AHEAD * num_threads:
                    yield ahead.popleft().result()
                ahead.append(pool.submit(read, item))
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _read_or_skip(item: Item, *, image_size: int, mask_format: MaskFormat) -> tuple[Pixels, Pixels] | Skipped:
    try:
        return read_item(item, image_size, mask_format)
    except UnreadableError as error:
        return Skipped(item.name, str(error))


def _open(folder: Path, index: DataIndex) -> PreparedData | None:
    """The cache in `folder`, or None where it is absent or damaged."""
    try:
        content: dict[str, Any] = json.loads((folder / "index.json").read_text())
        # Copied on writing, which nobody does, because PyTorch takes no memory that is read-only.
        pixels = np.load(folder / "pixels.npy", mmap_mode="c")  # noqa: TID251 - the cache's own; no pickles
        parts, start = {}, 0
        for part in PARTS:
            names, breeds = zip(*content["parts"][part], strict=True) if content["parts"][part] else ((), ())
            rows = slice(start, start + len(names))
            parts[part] = Part(names, breeds, pixels[rows])
            start = rows.stop
        skipped = tuple(Skipped(**item) for item in content["skipped"])
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None
    if not len(pixels) == len(index.items) == start + len(skipped):
        return None
    return PreparedData(index.name, index.fingerprint, parts["train"], parts["validation"], parts["test"], skipped)


def _check(data: PreparedData, index: DataIndex, max_skipped_fraction: float) -> None:
    total = len(index.items)
    reasons = "; ".join(f"{item.name}: {item.reason}" for item in data.skipped[:SHOWN_SKIPPED])
    if len(data.skipped) > max_skipped_fraction * total:
        more = ", ..." if len(data.skipped) > SHOWN_SKIPPED else ""
        raise UserError(
            f"{index.root}: {len(data.skipped)} of {total} items cannot be used, more than "
            f"data.max_skipped_fraction={max_skipped_fraction} allows ({reasons}{more}). Mend or remove them, or raise "
            "the setting"
        )
    for part, smallest in SMALLEST.items():
        size = len(getattr(data, part))
        if size < smallest:
            raise UserError(
                f"{index.root}: {size} images are left for {part}, which needs {smallest}; add images or change "
                f"data.validation_fraction or data.test_fraction{f' ({reasons})' if reasons else ''}"
            )
