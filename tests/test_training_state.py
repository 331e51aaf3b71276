import os
import random

import numpy as np
import pytest
import torch
from torch import nn

from segcore import training_state
from segcore.optim import OPTIMIZERS, SCHEDULERS, with_warmup
from segcore.randomness import global_states, restore_global_states
from segcore.trainer import Trainer
from segcore.training_state import DamagedStateError, load_state, remove_states, save_state, state_files
from tests.test_trainer import TinyData

CPU = torch.device("cpu")

STATE = {
    "epoch": 3,
    "best": float("-inf"),
    "rate": 0.1 + 0.2,
    "name": "a\nb",
    "nothing": None,
    "flag": True,
    "betas": (0.9, 0.999),
    "list": [1, [2, (3,)]],
    "by number": {0: {"step": torch.tensor(7.0)}, 1: torch.zeros(0)},
    "weights": torch.arange(6.0).reshape(2, 3).t(),
    "bytes": torch.tensor([1, 255], dtype=torch.uint8),
}


def same(left: object, right: object) -> bool:
    """Equal in kind and value, tensors to the last bit."""
    if torch.is_tensor(left):
        return torch.is_tensor(right) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


def test_a_state_comes_back_as_it_was(tmp_path):
    assert same(load_state(save_state(tmp_path / "states", STATE)), STATE)


def test_tensors_that_share_memory_come_back_each(tmp_path):
    weights = torch.arange(4.0)
    state = load_state(save_state(tmp_path, {"whole": weights, "part": weights[:2]}))
    assert same(state, {"whole": torch.arange(4.0), "part": torch.arange(2.0)})


def test_the_two_newest_are_kept_newest_first(tmp_path):
    for epoch in range(12):
        save_state(tmp_path, {"epoch": epoch})
    assert [load_state(path)["epoch"] for path in state_files(tmp_path)] == [11, 10]
    remove_states(tmp_path)
    assert state_files(tmp_path) == []


def test_what_cannot_be_kept_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(TypeError, match="object cannot be kept"):
        save_state(tmp_path, {"odd": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("position", [0, 9, 60, -200, -1])
def test_a_flipped_bit_is_noticed(tmp_path, position):
    path = save_state(tmp_path, STATE | {"weights": torch.rand(100)})
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedStateError):
        load_state(path)


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_file_is_noticed(tmp_path, kept):
    path = save_state(tmp_path, STATE)
    os.truncate(path, kept if kept >= 0 else path.stat().st_size + kept)
    with pytest.raises(DamagedStateError):
        load_state(path)


def test_another_safetensors_file_is_no_state(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "000001.safetensors")
    with pytest.raises(DamagedStateError):
        load_state(tmp_path / "000001.safetensors")


def test_a_write_that_was_cut_short_is_no_state(tmp_path):
    save_state(tmp_path, {"epoch": 1})
    (tmp_path / "000002.safetensors.4711.part").write_bytes(b"half")
    assert [path.name for path in state_files(tmp_path)] == ["000001.safetensors"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small tmpfs")
def test_a_full_disk_leaves_the_state_before(tmp_path):
    from tests.small_disk import small_disk

    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        save_state(disk / "states", {"epoch": 1})
        with pytest.raises(OSError, match="No space left"):
            save_state(disk / "states", {"epoch": 2, "weights": torch.zeros(10**6)})
        assert [path.name for path in (disk / "states").iterdir()] == ["000001.safetensors"]
        assert load_state(state_files(disk / "states")[0]) == {"epoch": 1}


def test_the_global_generators_go_on_where_they_were():
    before = global_states(CPU)
    drawn = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002 - what libraries draw from
    restore_global_states(before, CPU)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == drawn  # noqa: NPY002


class StoppedError(Exception):
    """The training is cut short here."""


def make_trainer(optimizer="adamw", scheduler="cosine", warmup_epochs=0, on_step=lambda epoch, step: None):
    """A network whose convolutions are channels last, as on a GPU, so that the layout of the moments matters."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3, padding=1))
    model = model.to(memory_format=torch.channels_last)
    weights = OPTIMIZERS[optimizer](model.parameters(), lr=0.05, weight_decay=0.01, momentum=0.9)
    options = {"epochs": 4, "eta_min": 1e-3, "gamma": 0.9}
    return Trainer(
        model=model,
        loss=PlainLoss(),
        optimizer=weights,
        scheduler=with_warmup(weights, SCHEDULERS[scheduler], warmup_epochs=warmup_epochs, **options),
        data=TinyData(),
        validate=lambda model: {"val/loss": 0.5, "val/dice_per_image": model[0].weight.sum().item()},
        epochs=4,
        device=CPU,
        on_step=on_step,
    )


class PlainLoss(nn.Module):
    def forward(self, logits, masks, valid):
        return nn.functional.binary_cross_entropy_with_logits(logits, masks)


def outcome(trainer, records):
    """What has to be the same however often the training was cut short."""
    times = ("epoch_seconds", "images_per_second")
    metrics = [{key: value for key, value in record.metrics.items() if key not in times} for record in records]
    return metrics, [record.is_best for record in records], trainer.model.state_dict()


@pytest.mark.parametrize("stop_at", [(1, 0), (1, 1), (2, 0), (3, 1), (4, 1)])
@pytest.mark.parametrize(
    ("optimizer", "scheduler", "warmup"),
    [("adamw", "cosine", 0), ("adam", "exponential", 0), ("sgd", "constant", 0), ("adamw", "cosine", 2)],
)
def test_a_training_that_is_cut_short_goes_on_as_if_nothing_had_happened(
    tmp_path, stop_at, optimizer, scheduler, warmup
):
    whole = make_trainer(optimizer, scheduler, warmup)
    expected = outcome(whole, list(whole.fit()))

    def on_step(epoch, step):
        if (epoch, step) == stop_at:
            raise StoppedError

    first, records = make_trainer(optimizer, scheduler, warmup, on_step), []
    with pytest.raises(StoppedError):
        for record in first.fit():
            records.append(record)
    path = save_state(tmp_path, first.state_dict())
    second = make_trainer(optimizer, scheduler, warmup)
    second.load_state_dict(load_state(path))
    records += list(second.fit())
    found = outcome(second, records)
    assert found[:2] == expected[:2]
    assert same(dict(found[2]), dict(expected[2]))


def test_a_training_goes_on_from_within_a_validation(tmp_path):
    whole = make_trainer()
    expected = outcome(whole, list(whole.fit()))
    first = make_trainer()
    validate = first.validate

    def stop(model):
        if first.epoch == 2:
            raise StoppedError
        return validate(model)

    first.validate = stop
    records = []
    with pytest.raises(StoppedError):
        for record in first.fit():
            records.append(record)
    assert (first.epoch, first.step) == (2, 2)
    second = make_trainer()
    second.load_state_dict(load_state(save_state(tmp_path, first.state_dict())))
    assert outcome(second, records + list(second.fit()))[:2] == expected[:2]


def test_the_time_of_an_epoch_is_that_of_all_its_processes():
    first = make_trainer(on_step=lambda epoch, step: (_ for _ in ()).throw(StoppedError) if step else None)
    with pytest.raises(StoppedError):
        list(first.fit())
    second = make_trainer()
    second.load_state_dict(first.state_dict() | {"seconds": 100.0, "step_seconds": 90.0})
    record = next(second.fit())
    assert 100 < record.metrics["epoch_seconds"] < 110
    assert record.metrics["images_per_second"] == pytest.approx(4 / 90, rel=0.1)


def test_as_many_states_are_kept_as_a_damaged_one_needs():
    assert training_state.KEPT >= 2
