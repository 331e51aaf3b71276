"""Damaged checkpoints: a UserError, or the very weights, settings and threshold that were saved."""

import json
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from segcore.build import build_model, load_model
from segcore.checkpoint import read_checkpoint, save_checkpoint
from segcore.errors import UserError
from segcore.predict import app
from tests.faults.damage import damaged, tell, try_reader

CPU = torch.device("cpu")
# Changing these changes nothing that anybody computes with.
WITHOUT_EFFECT = ("checksum", "epoch", "val/dice_per_image")


@pytest.fixture
def metadata(make_config) -> dict[str, Any]:
    settings = make_config(data__image_size=32).model_dump()
    return {"settings": settings, "epoch": 3, "val/dice_per_image": 0.75, "threshold": 0.45}


@pytest.fixture
def small(tmp_path, metadata) -> bytes:
    """A checkpoint of a few weights, whose header is as large a part of it as the weights are."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 1, 1).to(torch.bfloat16))
    save_checkpoint(tmp_path / "small.safetensors", model, metadata)
    content: bytes = (tmp_path / "small.safetensors").read_bytes()
    return content


def header_of(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the bytes after it."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(header: dict[str, Any], rest: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def wrong_headers(content: bytes, name: str = "0.weight") -> Iterator[bytes]:
    """Headers that are well-formed and say what is not so.  name: of a tensor."""
    for length in (0, 1, 2**32, 2**63, 2**64 - 1, len(content), 100_000_000):
        yield struct.pack("<Q", length) + content[8:]
    header, rest = header_of(content)
    wrong: dict[str, tuple[Any, ...]] = {
        "dtype": ("F64", "F16", "I8", "U64", "F8_E4M3", "F128", "", None, 5),
        "shape": ([], [0], [2**40, 2**20], [-1], [8, 3, 9], [27, 8], ["8"], None, 7),
        "data_offsets": ([0, 2**50], [2**62, 2**63], [-1, 5], [0, 0], [5, 1], None, "x"),
    }
    for field, values in wrong.items():
        for value in values:
            yield with_header(header | {name: header[name] | {field: value}}, rest)
    yield with_header({key: value for key, value in header.items() if key != name}, rest)
    yield with_header({f"{key}x" if key == name else key: value for key, value in header.items()}, rest)
    for key in header["__metadata__"]:
        for value in ("", "{", "[" * 100_000, "1e999", "NaN", "null", '"\\ud800"', '{"a": 1}', "[]"):
            yield with_header(header | {"__metadata__": header["__metadata__"] | {key: value}}, rest)
    for value in (None, [], {}, "x", {"settings": 5}):
        yield with_header(header | {"__metadata__": value}, rest)
    for content in (b"", b"\0" * 7, b"\0" * 8, b"\x80\x04K\x01.", b"PK\3\4" + rest, rest):
        yield content


def fuzz_reader(
    read: Callable[[Path], Any], is_same: Callable[[Any], bool], content: bytes, path: Path, number: int, seed: int
) -> Counter[str]:
    """Has a reader read a file as it is, with wrong headers, and with damaged bytes.

    read: raises UserError, or answers; is_same: whether an answer is what the file held before the damage.
    """

    def cases() -> Iterator[bytes]:
        yield content
        draw = random.Random(seed)
        for _ in range(number):
            yield damaged(content, draw)

    def check(found: Any, damaged_content: bytes) -> None:
        assert is_same(found), f"accepted, but not what was saved: {damaged_content[:3000]!r}"

    return try_reader(read, UserError, check, path, cases())


def comparison(content: bytes, path: Path) -> Callable[[Any], bool]:
    """Whether tensors and metadata are those of a checkpoint."""
    path.write_bytes(content)
    tensors, metadata = read_checkpoint(path)
    matter = {key: value for key, value in metadata.items() if key not in WITHOUT_EFFECT}

    def is_same(found: Any) -> bool:
        same_bytes = found[0].keys() == tensors.keys() and all(
            found[0][key].dtype == tensor.dtype and torch.equal(found[0][key], tensor)
            for key, tensor in tensors.items()
        )
        return same_bytes and all(found[1].get(key) == value for key, value in matter.items())

    return is_same


def test_wrong_headers_are_refused(tmp_path, small):
    path = tmp_path / "a.safetensors"
    is_same = comparison(small, path)

    def check(found: Any, content: bytes) -> None:
        assert is_same(found)

    counts = try_reader(read_checkpoint, UserError, check, path, wrong_headers(small))
    assert counts["accepted"] == 0


def test_a_sample_of_damaged_checkpoints(tmp_path, small):
    path = tmp_path / "a.safetensors"
    counts = fuzz_reader(read_checkpoint, comparison(small, path), small, path, 500, 5)
    assert counts["refused"] > 450


@pytest.mark.faults
def test_thousands_of_damaged_checkpoints(tmp_path, small):
    path = tmp_path / "a.safetensors"
    counts = fuzz_reader(read_checkpoint, comparison(small, path), small, path, 20_000, 6)
    tell("damaged checkpoints", counts)
    assert counts["refused"] > 18_000


def unusual(tensors: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Weights that are well stored, in files without checksum as older versions wrote them, and do not fit."""
    first = next(iter(tensors))
    for changed in (
        tensors[first].double(),
        tensors[first].half(),
        tensors[first].to(torch.int8),
        tensors[first][:-1].clone(),
        tensors[first].flatten(),
        torch.full_like(tensors[first], float("nan")),
        tensors[first].masked_fill(torch.rand(tensors[first].shape) < 0.01, float("inf")),
    ):
        yield tensors | {first: changed}
    yield {name: tensor for name, tensor in tensors.items() if name != first}
    yield {f"{name}.x": tensor for name, tensor in tensors.items()}
    yield tensors | {"extra": torch.zeros(1)}
    yield {}


def test_weights_that_do_not_fit_the_network_are_refused(tmp_path, make_config, metadata):
    path = tmp_path / "a.safetensors"
    network = build_model(make_config(model__name="resnet34_unet"), CPU)
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    texts = {key: json.dumps(value) for key, value in metadata.items()}
    save_file(tensors, path, texts)
    load_model(path, CPU)  # without a checksum it is read as it is
    for wrong in unusual(tensors):
        save_file({name: tensor.contiguous() for name, tensor in wrong.items()}, path, texts)
        with pytest.raises(UserError, match=r"a\.safetensors: does not fit|damaged"):
            load_model(path, CPU)
    settings = metadata["settings"]
    for key, value in (
        ("threshold", 2.0), ("threshold", "x"), ("threshold", None), ("settings", {}), ("settings", {"model": 5}),
        ("settings", settings | {"model": {"name": "other"}}), ("settings", settings | {"data": {}}),
    ):  # fmt: skip
        save_file(tensors, path, texts | {key: json.dumps(value)})
        with pytest.raises(UserError, match="threshold = " if key == "threshold" else "does not fit|holds no settings"):
            load_model(path, CPU)


@pytest.mark.parametrize("damage", ["truncated", "one bit", "no checkpoint"])
def test_the_command_says_that_a_checkpoint_is_damaged(tmp_path, make_config, metadata, damage):
    path, photo = tmp_path / "best.safetensors", tmp_path / "photo.png"
    Image.new("RGB", (20, 20)).save(photo)
    save_checkpoint(path, build_model(make_config(model__name="resnet34_unet"), CPU), metadata)
    content = bytearray(path.read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    path.write_bytes({"truncated": content[:-1], "one bit": content, "no checkpoint": b"x" * 100}[damage])
    result = CliRunner().invoke(
        app, ["--checkpoint", str(path), str(photo), "--output", str(tmp_path / "out"), "--device", "cpu"]
    )
    assert result.exit_code == 2
    assert "damaged" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
