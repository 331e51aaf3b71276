"""Random generators, each derived from a run's seed and the purpose that it serves."""

import hashlib

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
