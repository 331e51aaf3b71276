"""Random generators, each derived from a run's seed and the purpose that it serves."""

import hashlib
import random
from typing import Any

import numpy as np
import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed that depends on `seed` and on every word of `purpose`, the same on every machine."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator of its own for one purpose, such as `generator(42, "order", epoch)`.

    With the epoch among the words there is no state to save: epoch 7 draws the same numbers whether or not the
    run was interrupted before it.
    """
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


def global_states(device: torch.device) -> dict[str, Any]:
    """The states of the global generators of Python, NumPy, PyTorch and, on a GPU, of the device, as plain values.

    Nothing of ours draws from them; a library might.
    """
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - for libraries that use it
    numpy_state = (name, np.asarray(keys).tolist(), *rest)
    states = {"python": random.getstate(), "numpy": numpy_state, "torch": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_global_states(states: dict[str, Any], device: torch.device) -> None:
    """Bring the global generators to what `global_states` returned; a GPU's only where the run was on one."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
