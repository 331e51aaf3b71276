import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segcore.checkpoint import read_checkpoint, save_checkpoint, update_metadata
from segcore.errors import UserError

METADATA = {"settings": {"model": {"name": "unet"}}, "epoch": 3, "val/dice_per_image": 0.75}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)


def test_what_is_saved_is_read(tmp_path, model):
    save_checkpoint(tmp_path / "a.safetensors", model, METADATA)
    tensors, metadata = read_checkpoint(tmp_path / "a.safetensors")
    assert metadata == METADATA
    assert set(tensors) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensors[name], tensor)


def test_metadata_can_be_added_and_the_weights_stay(tmp_path, model):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, model, METADATA)
    before, _ = read_checkpoint(path)
    update_metadata(path, {"threshold": 0.45, "epoch": 4})
    after, metadata = read_checkpoint(path)
    assert metadata == METADATA | {"threshold": 0.45, "epoch": 4}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_failed_write_leaves_the_old_file(tmp_path, model):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, model, METADATA)
    with pytest.raises(TypeError):
        save_checkpoint(path, model, METADATA | {"bad": object()})
    assert read_checkpoint(path)[1] == METADATA
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_missing_a_damaged_and_a_foreign_file_are_refused(tmp_path, model):
    path = tmp_path / "a.safetensors"
    with pytest.raises(UserError, match="no such checkpoint"):
        read_checkpoint(path)
    save_checkpoint(path, model, METADATA)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="holds no settings"):
        read_checkpoint(path)


class Trap:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (self.path.write_text, ("code ran",))


def test_a_checkpoint_never_runs_code(tmp_path):
    for name, write in (("pickle", lambda path, trap: path.write_bytes(pickle.dumps(trap))), ("torch", None)):
        path, evidence = tmp_path / f"{name}.safetensors", tmp_path / f"{name}-evidence"
        if write:
            write(path, Trap(evidence))
        else:
            torch.save(Trap(evidence), path)
        with pytest.raises(UserError):
            read_checkpoint(path)
        assert not evidence.exists()
