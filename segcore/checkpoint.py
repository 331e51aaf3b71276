"""Checkpoints as safetensors files: weights and a few texts, nothing that loading could execute."""

import errno
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save_file
from torch import Tensor, nn

from segcore.errors import UserError


def save_checkpoint(path: Path, model: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Write the model's weights and the metadata, each value as JSON; aside first, then renamed into place."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_checkpoint(path, tensors, metadata)


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write contiguous tensors and the metadata; a reader sees the old file or the new one, never a part."""
    write_safetensors(path, tensors, {key: json.dumps(value) for key, value in metadata.items()})


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


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a checkpoint.  Raises UserError where the file is missing, damaged or of another kind."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such checkpoint file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            metadata = {key: json.loads(text) for key, text in (file.metadata() or {}).items()}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: is damaged or not a checkpoint of this suite: {error}") from None
    if "settings" not in metadata:
        raise UserError(f"{path}: holds no settings, so it is not a checkpoint of this suite")
    return tensors, metadata


def update_metadata(path: Path, changes: Mapping[str, Any]) -> None:
    """Add or replace texts of a checkpoint; its weights stay."""
    tensors, metadata = read_checkpoint(path)
    write_checkpoint(path, tensors, metadata | dict(changes))
