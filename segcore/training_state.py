"""The state of a training under way, kept so that a later process goes on from it: `checkpoints/000007.safetensors`.

Each file is written aside and renamed, and holds the SHA-256 of its content. The two newest are kept, so that behind a
damaged one there is the one before. Nothing in such a file can execute: numbers, texts and tensors alone.
"""

import json
import re
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from segcore.checkpoint import checksum_of, write_safetensors

KEPT = 2
NAME = re.compile(r"^(\d{6,})\.safetensors$")


class DamagedStateError(Exception):
    """A file holds no state that could be trusted; the message says why."""


def save_state(folder: Path, state: dict[str, Any]) -> Path:
    """Keep a state as the newest of `folder`, and the one before it, and return its file.  Raises OSError.

    state: nested dicts, lists and tuples of tensors, numbers, texts, booleans and None.
    """
    folder.mkdir(exist_ok=True)
    earlier = state_files(folder)
    path = folder / f"{number_of(earlier[0]) + 1 if earlier else 1:06d}.safetensors"
    tensors: dict[str, Tensor] = {}
    text = json.dumps(pack(state, tensors, count()))
    write_safetensors(path, tensors, {"state": text, "sha256": checksum_of(tensors, {"state": text})})
    for old in earlier[KEPT - 1 :]:
        old.unlink(missing_ok=True)
    return path


def state_files(folder: Path) -> list[Path]:
    """The states of a folder, newest first; parts of one whose writing was cut short are none."""
    files = [path for path in folder.iterdir() if NAME.match(path.name)] if folder.is_dir() else []
    return sorted(files, key=number_of, reverse=True)


def number_of(path: Path) -> int:
    """How many states had been kept with this one."""
    return int(path.name.partition(".")[0])


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` was given.  Raises DamagedStateError."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            texts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if checksum_of(tensors, {"state": texts["state"]}) != texts["sha256"]:
            raise DamagedStateError("its checksum is another")
        state: dict[str, Any] = unpack(json.loads(texts["state"]), tensors)
    # A header may also claim a type that this torch does not have, or be nested without end.
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise DamagedStateError(f"it is no whole checkpoint: {error}") from error
    return state


def remove_states(folder: Path) -> None:
    """Remove all states, and what is left of one whose writing was cut short."""
    shutil.rmtree(folder, ignore_errors=True)


def pack(value: Any, tensors: dict[str, Tensor], numbers: Iterator[int]) -> Any:
    """The value as JSON; its tensors go into `tensors`, under names that stand in their place."""
    if torch.is_tensor(value):
        name = str(next(numbers))
        # A clone, because tensors that share memory cannot be in one file.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, pack(item, tensors, numbers)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [pack(item, tensors, numbers) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be kept in a checkpoint")


def unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    """The value that was packed."""
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: unpack(item, tensors) for key, item in content}
    items = [unpack(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)
