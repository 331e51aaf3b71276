import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from segcore.data.augment import flip, rotate


@pytest.mark.parametrize("shape", [(64, 64), (33, 33), (48, 70), (31, 20)])
def test_rotation_agrees_with_torchvision(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand((40, 4, *shape), generator=generator)
    angles = (torch.rand(40, generator=generator, dtype=torch.float64) * 2 - 1) * 60
    oracle = torch.stack(
        [
            functional.rotate(image, float(angle), interpolation=InterpolationMode.NEAREST, fill=None)
            for image, angle in zip(pixels, angles, strict=True)
        ]
    )
    agreeing = (rotate(pixels, angles) == oracle).all(dim=1).double().mean()
    assert agreeing == 1 or agreeing > 0.999


def test_a_quarter_turn_is_counter_clockwise() -> None:
    corner = torch.tensor([[[[0.0, 9.0], [0.0, 0.0]]]])
    turned = rotate(corner, torch.tensor([90.0], dtype=torch.float64))
    torch.testing.assert_close(turned, torch.tensor([[[[9.0, 0.0], [0.0, 0.0]]]]))


def test_zero_degrees_is_the_identity_and_each_image_has_its_own_angle() -> None:
    pixels = torch.rand(2, 1, 16, 16) + 1
    turned = rotate(pixels, torch.tensor([0.0, 45.0], dtype=torch.float64))
    assert torch.equal(turned[0], pixels[0])
    assert turned[1, 0, 0, 0] == 0


def test_nearest_makes_no_new_values() -> None:
    codes = torch.randint(1, 4, (8, 1, 32, 32)).float()
    turned = rotate(codes, torch.linspace(-15, 15, 8, dtype=torch.float64))
    assert set(turned.flatten().tolist()) == {0.0, 1.0, 2.0, 3.0}


def test_flip_mirrors_only_the_chosen() -> None:
    pixels = torch.arange(12.0).view(2, 1, 2, 3)
    flipped: Tensor = flip(pixels, torch.tensor([True, False]))
    assert flipped[0, 0].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert torch.equal(flipped[1], pixels[1])
