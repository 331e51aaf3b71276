import os
import subprocess
import sys

import pytest
import torch

from segcore.execution import worker
from segcore.execution.allocator import KEEP_MEMORY, keeps_memory

# Prints whether a freed gigabyte is still resident, and whether another is after memory was to be given back.
HOLD_AND_FREE = """
import numpy as np
from segcore.execution.allocator import give_memory_back

def held():
    tensor = np.ones(2**27)
    del tensor
    line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
    return int(line.split()[1]) > 2**20

first = held()
give_memory_back()

print(first, held())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_a_process_can_turn_to_giving_memory_back():
    done = subprocess.run(
        [sys.executable, "-c", HOLD_AND_FREE],
        env=os.environ | {"GLIBC_TUNABLES": KEEP_MEMORY},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "False"]


@pytest.fixture
def save(make_config, monkeypatch):
    """A function that tells whether a worker gives memory back, for so much that it needs and is free, GiB."""
    given_back = []
    monkeypatch.setattr(worker, "give_memory_back", lambda: given_back.append(True))

    def decide(needed, free, device="cpu"):
        given_back.clear()
        monkeypatch.setattr(worker, "estimate_memory_gib", lambda config, precision, device: needed)
        monkeypatch.setattr(worker, "free_memory_gib", lambda device: free)
        worker.save_memory(make_config(), torch.device(device))
        return bool(given_back)

    return decide


def test_memory_is_given_back_where_keeping_it_takes_more_than_is_free(save, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", KEEP_MEMORY)
    assert save(needed=5.0, free=4.0)
    assert not save(needed=3.0, free=4.0)
    assert not save(needed=5.0, free=4.0, device="cuda")


def test_settings_of_the_users_own_stay(save, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    assert not keeps_memory()
    assert not save(needed=5.0, free=4.0)
