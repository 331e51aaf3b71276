import numpy as np
import pytest

from segcore.data.shapes import box, capsule, curve, ellipse, noise, smooth_union, triangle, turn

# One row of points on the horizontal axis, at -2, -1, 0, 1, 2.
AXIS = np.array([[(x, 0) for x in (-2, -1, 0, 1, 2)]], np.float32)


def test_a_circle_and_an_ellipse() -> None:
    np.testing.assert_allclose(ellipse(AXIS, (0, 0), (1, 1))[0, [0, 1, 3, 4]], [1, 0, 0, 1], atol=1e-6)
    wide = ellipse(AXIS, (0, 0), (2, 0.5))
    tall = ellipse(AXIS, (0, 0), (2, 0.5), np.pi / 2)
    assert wide[0, 3] < 0 < tall[0, 3]


def test_a_capsule_and_a_straight_curve() -> None:
    np.testing.assert_allclose(capsule(AXIS, (-1, 0), (1, 0), 0.25), [[0.75, -0.25, -0.25, -0.25, 0.75]])
    np.testing.assert_allclose(curve(AXIS, (-1, 0), (0, 0), (1, 0), 0.25)[0, :2], [0.75, -0.25], atol=1e-6)


def test_a_triangle_and_a_box() -> None:
    np.testing.assert_allclose(
        triangle(AXIS, ((-1, -1), (1, -1), (0, 3)), 0.0)[0, 2], -0.75 * 4 / np.hypot(4, 1), rtol=1e-5
    )
    np.testing.assert_allclose(box(AXIS, (0, 0), (1, 0.5), 0.0, 0.1), [[1, 0, -0.5, 0, 1]], atol=1e-6)


def test_a_smooth_union_covers_both_and_a_turn_is_counter_clockwise_in_x_y() -> None:
    first, second = ellipse(AXIS, (-1, 0), (0.9, 0.9)), ellipse(AXIS, (1, 0), (0.9, 0.9))
    union = smooth_union((first, second), 0.5)
    assert (union <= np.minimum(first, second)).all()
    assert union[0, 2] < 0 < first[0, 2]
    np.testing.assert_allclose(turn(AXIS, np.pi / 2)[0, 4], [0, 2], atol=1e-6)


@pytest.mark.parametrize("octaves", [1, 3])
def test_noise_depends_on_the_generator_alone(octaves: int) -> None:
    first, second = (noise(np.random.default_rng(1), (40, 30), (5, 5), octaves) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (40, 30)
    assert 0.3 < first.std() < 1.5
