"""Made-up breeds and the shapes of their bodies, as signed distances.  Points are float32 (H, W, 2)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from segcore.data.shapes import Array, Point, capsule, curve, ellipse, smooth_union, triangle
from segcore.data.textures import Colour, Colours

DARK: Colour = (0.07, 0.06, 0.06)


@dataclass(frozen=True)
class Breed:
    """What the pets of a made-up breed look like; pattern: a key of textures.PATTERNS."""

    name: str
    species: Literal["cat", "dog"]
    pattern: str
    colours: Colours
    eyes: Colour


BREEDS = (
    Breed("Ember_Tabby", "cat", "stripes", ((0.82, 0.52, 0.25), (0.55, 0.28, 0.12)), (0.45, 0.60, 0.20)),
    Breed("Harbour_Grey", "cat", "plain", ((0.52, 0.54, 0.58), (0.38, 0.40, 0.45)), (0.75, 0.60, 0.15)),
    Breed("Leopardling", "cat", "spots", ((0.80, 0.68, 0.48), (0.30, 0.21, 0.14)), (0.30, 0.55, 0.50)),
    Breed("meadow_hound", "dog", "patches", ((0.62, 0.42, 0.24), (0.92, 0.88, 0.80)), DARK),
    Breed("soot_terrier", "dog", "plain", ((0.20, 0.19, 0.19), (0.36, 0.30, 0.26)), (0.30, 0.18, 0.08)),
    Breed("snow_pointer", "dog", "spots", ((0.90, 0.88, 0.84), (0.34, 0.24, 0.18)), DARK),
)


@dataclass(frozen=True)
class Animal:
    """The distance to a pet's outline, and the features of its face: (distance, colour) each, to be painted in turn."""

    outline: Array
    face: tuple[tuple[Array, Colour], ...]


def pose_animal(rng: np.random.Generator, points: Array, breed: Breed) -> Animal:
    """A pet of `breed` about the origin, some 1.6 long, facing right, in one of four poses."""
    pose = POSES[rng.integers(len(POSES))]
    head, radius, parts = pose(rng, points)
    ears = _pointed_ears if breed.species == "cat" else _floppy_ears
    # Around the head the joints are sharper, so that ears stay ears.
    body = smooth_union([*parts, _head(points, head, radius, breed)], 0.12)
    outline = smooth_union([body, *ears(rng, points, head, radius)], 0.05)
    return Animal(outline, _face(points, head, radius, breed))


def _standing(rng: np.random.Generator, points: Array) -> tuple[Point, float, list[Array]]:
    head, radius = (0.56 + _jitter(rng), -0.32 + _jitter(rng)), 0.2 + 0.4 * _jitter(rng)
    feet = np.array((-0.42, -0.26, 0.24, 0.4)) + rng.uniform(-0.08, 0.08, 4)
    legs = [capsule(points, (0.9 * x, 0.1), (x, 0.58), 0.07) for x in feet.tolist()]
    body = ellipse(points, (0, 0), (0.52, 0.25 + 0.5 * _jitter(rng)))
    neck = capsule(points, (0.36, -0.08), (head[0] - 0.04, head[1] + 0.06), 0.14)
    tail = curve(points, (-0.46, -0.1), (-0.85, -0.15), (-0.75 + _jitter(rng, 3), -0.5 + _jitter(rng, 3)), 0.06)
    return head, radius, [body, neck, *legs, tail]


def _sitting(rng: np.random.Generator, points: Array) -> tuple[Point, float, list[Array]]:
    head, radius = (0.02 + _jitter(rng), -0.42 + _jitter(rng)), 0.25 + 0.4 * _jitter(rng)
    body = ellipse(points, (0, 0.18), (0.29 + 0.5 * _jitter(rng), 0.46))
    legs = [capsule(points, (x, 0.1), (1.2 * x, 0.64), 0.075) for x in (-0.11, 0.11)]
    haunches = [ellipse(points, (x, 0.5), (0.16, 0.17)) for x in (-0.24, 0.24)]
    side = float(rng.choice((-1, 1)))
    tail = curve(points, (side * 0.25, 0.6), (side * 0.75, 0.7), (side * 0.62, 0.2 + _jitter(rng, 3)), 0.06)
    return head, radius, [body, *legs, *haunches, tail]


def _lying(rng: np.random.Generator, points: Array) -> tuple[Point, float, list[Array]]:
    head, radius = (0.54 + _jitter(rng), -0.16 + _jitter(rng)), 0.21 + 0.4 * _jitter(rng)
    body = ellipse(points, (0, 0.1), (0.6, 0.23 + 0.5 * _jitter(rng)))
    haunch = ellipse(points, (-0.36, 0.12), (0.24, 0.22))
    legs = [capsule(points, (0.35, y), (0.82 + _jitter(rng), y + 0.04), 0.065) for y in (0.2, 0.29)]
    tail = curve(points, (-0.56, 0.18), (-0.9, 0.32), (-0.86 + _jitter(rng, 2), -0.06 + _jitter(rng, 3)), 0.06)
    return head, radius, [body, haunch, *legs, tail]


def _portrait(rng: np.random.Generator, points: Array) -> tuple[Point, float, list[Array]]:
    head, radius = (_jitter(rng), -0.2 + _jitter(rng)), 0.42 + _jitter(rng)
    shoulders = ellipse(points, (0, 0.85), (0.55 + _jitter(rng, 2), 0.62))
    neck = capsule(points, (0, 0.35), (0, 0.1), 0.26)
    tail = curve(points, (-0.5, 1.0), (-1.0, 0.7), (-0.8 + _jitter(rng, 2), 0.1 + _jitter(rng, 3)), 0.08)
    return head, radius, [shoulders, neck, tail]


POSES = (_standing, _sitting, _lying, _portrait)


def _head(points: Array, head: Point, radius: float, breed: Breed) -> Array:
    skull = ellipse(points, head, (radius, 0.92 * radius))
    if breed.species == "cat":
        return skull
    muzzle = ellipse(points, (head[0] + 0.25 * radius, head[1] + 0.6 * radius), (0.5 * radius, 0.55 * radius))
    return smooth_union([skull, muzzle], 0.08)


def _pointed_ears(rng: np.random.Generator, points: Array, head: Point, radius: float) -> list[Array]:
    def ear(side: int) -> Array:
        tip = (side * (0.72 + _jitter(rng)), -1.4 + _jitter(rng, 2))
        corners = ((side * 0.85, -0.3), (side * 0.12, -0.8), tip)
        return triangle(points, [(head[0] + radius * x, head[1] + radius * y) for x, y in corners], 0.1 * radius)

    return [ear(-1), ear(1)]


def _floppy_ears(rng: np.random.Generator, points: Array, head: Point, radius: float) -> list[Array]:
    def ear(side: int) -> Array:
        centre = (head[0] + side * 0.95 * radius, head[1] + 0.1 * radius)
        return ellipse(points, centre, (0.28 * radius, 0.68 * radius), -side * rng.uniform(0.05, 0.5))

    return [ear(-1), ear(1)]


def _face(points: Array, head: Point, radius: float, breed: Breed) -> tuple[tuple[Array, Colour], ...]:
    # Dogs look a little to the side, where their muzzle is.
    x, y = head[0] + (0.15 * radius if breed.species == "dog" else 0), head[1]
    nose_y = y + (0.5 if breed.species == "dog" else 0.28) * radius
    features: list[tuple[Array, Colour]] = [(ellipse(points, (x, nose_y), (0.15 * radius, 0.11 * radius)), DARK)]
    for side in (-0.4, 0.4):
        eye = (x + side * radius, y - 0.12 * radius)
        features.append((ellipse(points, eye, (0.17 * radius, 0.15 * radius)), breed.eyes))
        features.append((ellipse(points, eye, (0.07 * radius, 0.13 * radius)), DARK))
    return tuple(features)


def _jitter(rng: np.random.Generator, scale: float = 1.0) -> float:
    return float(rng.uniform(-0.06, 0.06)) * scale
