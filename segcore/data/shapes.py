"""Signed distances to simple shapes, negative inside, and smooth noise: what the synthetic pictures are drawn from.

The formulas are Inigo Quilez's (https://iquilezles.org/articles/distfunctions2d/).  Points are float32 (H, W, 2).
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]
Point = tuple[float, float]
PIECES = 8


def ellipse(points: Array, centre: Point, radii: Point, angle: float = 0.0) -> Array:
    """Distance to an ellipse turned by `angle` radians; exact for circles, close to the outline otherwise."""
    local = turn(points - _vector(centre), -angle)
    scaled = np.linalg.norm(local / _vector(radii), axis=-1)
    slope = np.linalg.norm(local / _vector(radii) ** 2, axis=-1)
    return np.asarray(scaled * (scaled - 1) / np.maximum(slope, 1e-6), np.float32)


def capsule(points: Array, start: Point, end: Point, radius: float) -> Array:
    """Distance to a line of thickness 2 * radius with round ends."""
    along = _vector(end) - _vector(start)
    offset = points - _vector(start)
    share = np.clip(offset @ along / max(float(along @ along), 1e-9), 0, 1)
    return np.asarray(np.linalg.norm(offset - share[..., None] * along, axis=-1) - radius, np.float32)


def curve(points: Array, start: Point, control: Point, end: Point, radius: float) -> Array:
    """Distance to a quadratic Bezier curve that thins to half its radius, as a chain of capsules."""
    path = [
        (_bezier(start[0], control[0], end[0], i / PIECES), _bezier(start[1], control[1], end[1], i / PIECES))
        for i in range(PIECES + 1)
    ]
    pieces = [capsule(points, a, b, radius * (1 - i / (2 * PIECES))) for i, (a, b) in enumerate(pairwise(path))]
    return np.asarray(np.min(pieces, axis=0), np.float32)


def triangle(points: Array, corners: Sequence[Point], rounding: float) -> Array:
    """Distance to a triangle with rounded corners."""
    edges = [capsule(points, corners[i], corners[(i + 1) % 3], 0.0) for i in range(3)]
    sides = [_side(points, corners[i], corners[(i + 1) % 3]) for i in range(3)]
    inside = np.all(sides, axis=0) | ~np.any(sides, axis=0)
    return np.asarray(np.min(edges, axis=0) * np.where(inside, -1, 1) - rounding, np.float32)


def box(points: Array, centre: Point, half: Point, angle: float, rounding: float) -> Array:
    """Distance to a rectangle with rounded corners, turned by `angle` radians."""
    outside = np.abs(turn(points - _vector(centre), -angle)) - (_vector(half) - rounding)
    distance = np.linalg.norm(np.maximum(outside, 0), axis=-1) + np.minimum(outside.max(axis=-1), 0)
    return np.asarray(distance - rounding, np.float32)


def smooth_union(distances: Sequence[Array], blend: float) -> Array:
    """Distance to the union of shapes, their joints rounded over about `blend`."""
    result = distances[0]
    for distance in distances[1:]:
        closeness = np.maximum(blend - np.abs(result - distance), 0) / blend
        result = np.minimum(result, distance) - closeness**2 * (blend / 4)
    return np.asarray(result, np.float32)


def turn(points: Array, angle: float) -> Array:
    """The points turned by `angle` radians about the origin."""
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = points[..., 0], points[..., 1]
    return np.stack((cosine * x - sine * y, sine * x + cosine * y), axis=-1)


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float], octaves: int = 1) -> Array:
    """Smooth noise of about unit variance: `cells` bumps down and across, finer ones added an octave."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        rows, columns = (max(2, round(count * 2**octave) + 1) for count in cells)
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        smooth = Image.fromarray(grid).resize(shape[::-1], Image.Resampling.BICUBIC)
        total += np.asarray(smooth) * np.float32(0.6**octave)
    return total


def _bezier(start: float, control: float, end: float, share: float) -> float:
    return (1 - share) ** 2 * start + 2 * share * (1 - share) * control + share**2 * end


def _vector(point: Point) -> Array:
    return np.asarray(point, np.float32)


def _side(points: Array, start: Point, end: Point) -> NDArray[np.bool_]:
    along = _vector(end) - _vector(start)
    offset = points - _vector(start)
    return np.asarray(along[0] * offset[..., 1] - along[1] * offset[..., 0] > 0)
