"""Checkpoints as safetensors files: weights and a few texts, nothing that loading could execute."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from segcore.errors import PASSING_ERRORS, UserError, is_out_of_memory

CHECKSUM = "checksum"


def save_checkpoint(path: Path, model: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Write the model's weights and the metadata, each value as JSON; aside first, then renamed into place."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_checkpoint(path, tensors, metadata)


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write contiguous tensors and the metadata; a reader sees the old file or the new one, never a part.

    A checksum over all of it lets a reader notice later damage.
    """
    texts = {key: json.dumps(value) for key, value in metadata.items()}
    write_safetensors(path, tensors, texts | {CHECKSUM: checksum_of(tensors, texts)})


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Write a safetensors file aside, have it on the disk, and rename it into place.  Raises OSError."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file(dict(tensors), aside, dict(texts))
        sync(aside)
        os.replace(aside, path)
        sync(path.parent)
    except safetensors.SafetensorError as error:
        # The library tells the system's number of the error in its text alone.
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from None
    finally:
        aside.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have a file, or a folder's names, on the disk, so that they outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum_of(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> str:
    """SHA-256 of names, types, shapes and bytes of contiguous tensors, and of the metadata's texts."""
    digest = hashlib.sha256(json.dumps(dict(sorted(texts.items()))).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a checkpoint.

    Raises UserError where the file is missing, damaged or of another kind.  Files of versions that wrote no checksum
    are read as they are.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such checkpoint file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            texts = dict(file.metadata() or {})
        checksum = texts.pop(CHECKSUM, None)
        is_whole = checksum is None or checksum == checksum_of(tensors, texts)
        metadata = {key: json.loads(text) for key, text in texts.items()} if is_whole else {}
    # A header may also claim a type that this torch does not have, or be nested without end.
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise UserError(f"{path}: is damaged or not a checkpoint of this suite: {error}") from error
    if not is_whole:
        raise UserError(f"{path}: is damaged: its checksum is wrong. Use another copy, or train the run again")
    if not isinstance(metadata.get("settings"), dict):
        raise UserError(f"{path}: holds no settings, so it is not a checkpoint of this suite")
    return tensors, metadata


def may_pass(error: BaseException | None) -> bool:
    """Whether an error of reading says nothing of the file: storage that errs for a moment, memory that is short."""
    return is_out_of_memory(error) or (isinstance(error, OSError) and error.errno in PASSING_ERRORS)


def update_metadata(path: Path, changes: Mapping[str, Any]) -> None:
    """Add or replace texts of a checkpoint; its weights stay."""
    tensors, metadata = read_checkpoint(path)
    write_checkpoint(path, tensors, metadata | dict(changes))
