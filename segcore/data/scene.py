"""One synthetic picture: a made-up pet among things in the same fur and colours, and its trimap."""

import numpy as np

from segcore.data.animals import BREEDS, Breed, pose_animal
from segcore.data.reading import BACKGROUND, BORDER, PET, Pixels
from segcore.data.shapes import Array, box, capsule, ellipse, noise, turn
from segcore.data.textures import PATTERNS, Colour, texture

# The longer side of a picture, in the units of the shapes: a pet is some 1.6 long before it is scaled.
VIEW = 2.2
# Half the width of the trimap's border, in pixels.
HALF_BORDER = 1.3
FLOORS: tuple[Colour, ...] = (
    (0.36, 0.48, 0.24),
    (0.70, 0.62, 0.50),
    (0.48, 0.34, 0.24),
    (0.60, 0.64, 0.70),
    (0.80, 0.76, 0.70),
    (0.42, 0.30, 0.34),
)


def draw_scene(rng: np.random.Generator, size: tuple[int, int], breed: Breed) -> tuple[Pixels, Pixels]:
    """A picture of size (height, width): uint8 RGB (H, W, 3), and its trimap (H, W), 1 pet, 2 background, 3 border."""
    points = _points(size)
    picture = _background(rng, points)
    for _ in range(rng.integers(1, 4)):
        picture = _paint(picture, *_thing(rng, points, scale=1.2))
    picture, pet = _paint_pet(rng, picture, points, breed)
    if rng.random() < 0.3:
        front, surface = _thing(rng, points, scale=0.5)
        picture = _paint(picture, front, surface)
        pet = np.maximum(pet, -front)
    return _photograph(rng, picture, points), _trimap(pet, VIEW / max(size))


def _points(size: tuple[int, int]) -> Array:
    rows, columns = (np.arange(length, dtype=np.float32) + 0.5 - length / 2 for length in size)
    return np.stack(np.meshgrid(columns, rows), axis=-1) * np.float32(VIEW / max(size))


def _paint(picture: Array, distance: Array, surface: Array, shade: float = 0.45) -> Array:
    """Covers the inside of a shape with a surface, darker by `shade` at the outline, as round things are."""
    pixel = VIEW / max(picture.shape[:2])
    cover = np.clip(0.5 - distance / pixel, 0, 1)[..., None]
    depth = np.clip(-distance / 0.22, 0, 1)[..., None]
    return np.asarray(picture + cover * (surface * (1 - shade * (1 - depth) ** 2) - picture), np.float32)


def _paint_pet(rng: np.random.Generator, picture: Array, points: Array, breed: Breed) -> tuple[Array, Array]:
    scale = rng.uniform(0.65, 1.25)
    mirrored = np.array((rng.choice((-1, 1)), 1), np.float32)
    place = np.array((rng.uniform(-0.35, 0.35), rng.uniform(-0.2, 0.25)), np.float32)
    local = turn((points - place) * mirrored, rng.uniform(-0.25, 0.25)) / np.float32(scale)
    animal = pose_animal(rng, local, breed)
    height, width = points.shape[:2]
    fuzz = 0.012 * noise(rng, (height, width), (height / 3, width / 3))
    outline = np.asarray(animal.outline * scale + fuzz, np.float32)
    shadow = np.clip(1 - np.roll(outline, (height // 20, width // 20), (0, 1)) / 0.3, 0, 1)[..., None]
    picture = picture * (1 - np.float32(0.4 * rng.random()) * shadow)
    picture = _paint(picture, outline, texture(rng, points / np.float32(scale), breed.pattern, breed.colours))
    for distance, colour in animal.face:
        picture = _paint(picture, distance * np.float32(scale), np.array(colour, np.float32), shade=0)
    return picture, outline


def _background(rng: np.random.Generator, points: Array) -> Array:
    wall, floor = _surface(rng, points), _surface(rng, points)
    horizon = rng.uniform(-0.8, 0.9) + rng.uniform(-0.1, 0.1) * points[..., 0]
    return np.where((points[..., 1] > horizon)[..., None], floor, wall)


def _surface(rng: np.random.Generator, points: Array) -> Array:
    """A wall or a floor; some have the colours of fur, so that colour alone does not tell a pet."""
    pattern = str(rng.choice(tuple(PATTERNS)))
    if rng.random() < 0.35:
        return texture(rng, points, pattern, BREEDS[rng.integers(len(BREEDS))].colours)
    base = FLOORS[rng.integers(len(FLOORS))]
    red, green, blue = np.array(base) * rng.uniform(0.65, 1.2) + rng.uniform(-0.05, 0.05, 3)
    return texture(rng, points, pattern, (base, (red, green, blue)))


def _thing(rng: np.random.Generator, points: Array, *, scale: float) -> tuple[Array, Array]:
    """A cushion, a bolster, a roll or a ball, mostly in some breed's fur: distance and surface."""
    right, bottom = points[0, -1, 0], points[-1, 0, 1]
    x, y = float(rng.uniform(-right, right)), float(rng.uniform(-bottom, bottom))
    length, width = float(scale * rng.uniform(0.25, 0.55)), float(scale * rng.uniform(0.12, 0.3))
    angle = float(rng.uniform(0, np.pi))
    shapes = (
        lambda: box(points, (x, y), (length, width), angle, 0.08 * scale),
        lambda: ellipse(points, (x, y), (length, width), angle),
        lambda: capsule(points, (x, y), (x + length * np.cos(angle), y + length * np.sin(angle)), width / 2),
        lambda: ellipse(points, (x, y), (width, width)),
    )
    distance = shapes[rng.integers(len(shapes))]()
    if rng.random() < 0.3:
        return distance, _surface(rng, points)
    breed = BREEDS[rng.integers(len(BREEDS))]
    return distance, texture(rng, points, breed.pattern, breed.colours)


def _photograph(rng: np.random.Generator, picture: Array, points: Array) -> Pixels:
    """Uneven light, a tint, a contrast curve and sensor noise."""
    from_side = turn(points, rng.uniform(0, 2 * np.pi))[..., :1]
    light = rng.uniform(0.75, 1.2) * (1 + rng.uniform(0, 0.3) * from_side) * rng.uniform(0.95, 1.05, 3)
    grain = rng.uniform(0.01, 0.035) * rng.standard_normal(picture.shape, dtype=np.float32)
    exposed = np.clip(picture * light, 0, 1) ** rng.uniform(0.8, 1.25) + grain
    return np.round(255 * np.clip(exposed, 0, 1)).astype(np.uint8)


def _trimap(pet: Array, pixel: float) -> Pixels:
    codes = np.where(pet < 0, PET, BACKGROUND)
    codes[np.abs(pet) < HALF_BORDER * pixel] = BORDER
    return codes.astype(np.uint8)
