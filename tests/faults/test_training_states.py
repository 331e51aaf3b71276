"""Damaged states of a training under way: refused, or the very state that was kept."""

import random
from collections import Counter

import pytest
import torch

from segcore.training_state import DamagedStateError, load_state, save_state
from tests.faults.damage import damaged, tell, try_reader
from tests.faults.test_checkpoints import wrong_headers
from tests.test_training_state import make_trainer, same


@pytest.fixture
def kept(tmp_path):
    """A state as a worker keeps it, and its file."""
    trainer = make_trainer()
    next(trainer.fit())
    state = {"version": 1, "trainer": trainer.state_dict(), "peak_memory_gib": 0.5}
    state["trainer"]["model"]["0.weight"] = torch.rand(8, 3, 3, 3)
    return state, save_state(tmp_path / "states", state).read_bytes()


def fuzz(kept, path, number, seed) -> Counter[str]:
    state, content = kept
    draw = random.Random(seed)

    def check(found, damaged_content):
        assert same(found, state), f"accepted, but not what was kept: {damaged_content[:3000]!r}"

    return try_reader(load_state, DamagedStateError, check, path, (damaged(content, draw) for _ in range(number)))


def test_a_sample_of_damaged_states(tmp_path, kept):
    counts = fuzz(kept, tmp_path / "000001.safetensors", 300, 1)
    assert counts["refused"] > 250


@pytest.mark.faults
def test_thousands_of_damaged_states(tmp_path, kept):
    counts = fuzz(kept, tmp_path / "000001.safetensors", 5_000, 2)
    tell("damaged states of trainings", counts)
    assert counts["refused"] > 4_500


def test_wrong_headers_are_refused(tmp_path, kept):
    state, content = kept

    def check(found, damaged_content):
        assert same(found, state)

    path = tmp_path / "000001.safetensors"
    counts = try_reader(load_state, DamagedStateError, check, path, wrong_headers(content, name="1"))
    assert counts["refused"] > 50
