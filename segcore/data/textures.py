"""Fur, walls and floors of the synthetic pictures: patterns in two colours.  Points are float32 (H, W, 2)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segcore.data.shapes import Array, noise, turn

Colour = tuple[float, float, float]
Colours = tuple[Colour, Colour]


def texture(rng: np.random.Generator, points: Array, pattern: str, colours: Colours) -> Array:
    """A surface (H, W, 3) in [0, 1] or a little beyond; pattern: a key of PATTERNS, which the colours take part in."""
    share_HW1 = PATTERNS[pattern](rng, points)[..., None]
    first, second = np.asarray(colours, np.float32)
    strands = noise(rng, points.shape[:2], (points.shape[0] / 2, points.shape[1] / 4))
    tint = 1 + 0.05 * rng.standard_normal(3, dtype=np.float32)
    return np.asarray((first + share_HW1 * (second - first)) * (1 + 0.09 * strands[..., None]) * tint, np.float32)


def plain(rng: np.random.Generator, points: Array) -> Array:
    """One colour with soft clouds of the other."""
    return _share(0.4 + 0.3 * noise(rng, points.shape[:2], (3, 3), octaves=3))


def stripes(rng: np.random.Generator, points: Array) -> Array:
    """A tabby's wavy stripes."""
    along = turn(points, rng.uniform(0, np.pi))[..., 0]
    waves = np.sin(along * rng.uniform(22, 34) + 1.6 * noise(rng, points.shape[:2], (4, 4), octaves=2))
    return _share(0.5 + 1.2 * waves)


def spots(rng: np.random.Generator, points: Array) -> Array:
    """A leopard's spots."""
    cells = rng.uniform(9, 14)
    return _share(4 * (noise(rng, points.shape[:2], (cells, cells)) - 0.45))


def patches(rng: np.random.Generator, points: Array) -> Array:
    """A cow's large patches."""
    return _share(6 * noise(rng, points.shape[:2], (4, 4)))


def tiles(rng: np.random.Generator, points: Array) -> Array:
    """Square tiles with joints."""
    scaled = turn(points, rng.uniform(-0.3, 0.3)) * rng.uniform(2.5, 5)
    lines = np.abs(scaled - np.round(scaled)).min(axis=-1) < 0.05
    return _share(lines + 0.15 * noise(rng, points.shape[:2], (6, 6)))


def boards(rng: np.random.Generator, points: Array) -> Array:
    """Floor boards with grain."""
    across = points[..., 1] * rng.uniform(3, 6) + rng.random()
    grain = noise(rng, points.shape[:2], (points.shape[0] / 3, 3), octaves=2)
    return _share(0.3 + 0.25 * np.sin(7.3 * np.floor(across)) + 0.3 * grain)


def grass(rng: np.random.Generator, points: Array) -> Array:
    """Short vertical strokes."""
    return _share(0.4 + 0.4 * noise(rng, points.shape[:2], (8, points.shape[1] / 3), octaves=2))


PATTERNS: dict[str, Callable[[np.random.Generator, Array], Array]] = {
    "plain": plain,
    "stripes": stripes,
    "spots": spots,
    "patches": patches,
    "tiles": tiles,
    "boards": boards,
    "grass": grass,
}


def _share(values: NDArray[np.floating]) -> Array:
    """How much of the second colour shows, in [0, 1]."""
    return np.asarray(np.clip(values, 0, 1), np.float32)
