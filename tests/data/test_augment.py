import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from segcore.data.augment import flip, resample, turning_grid


def make_words(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers of four bytes, also those that are no numbers, or tiny ones, when they are read as float32."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(-(2**31), 2**31, shape, generator=generator, dtype=torch.int64).to(torch.int32)
    special = torch.tensor([0x7F800001, 0x7FFFFFFF, 1, -1, 0x00400000, -(2**31)], dtype=torch.int32)
    words.view(-1)[: len(special)] = special
    return words


def turn(words: Tensor, angles: list[float], flips: list[bool] | None = None) -> Tensor:
    chosen = torch.tensor(flips or [False] * len(angles))
    grid = turning_grid(torch.tensor(angles, dtype=torch.float64), chosen, *words.shape[1:])
    return resample(words, grid)


@pytest.mark.parametrize("shape", [(64, 64), (33, 33), (48, 70), (31, 20)])
def test_rotation_agrees_with_torchvision(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    angles = ((torch.rand(40, generator=generator, dtype=torch.float64) * 2 - 1) * 60).tolist()
    words = make_words(40, *shape)
    oracle = torch.stack(
        [
            functional.rotate(image, angle, interpolation=InterpolationMode.NEAREST, fill=None)
            for image, angle in zip(words.unsqueeze(-1).view(torch.uint8).permute(0, 3, 1, 2), angles, strict=True)
        ]
    )
    turned = turn(words, angles).unsqueeze(-1).view(torch.uint8).permute(0, 3, 1, 2)
    agreeing = (turned == oracle).all(dim=1).double().mean()
    assert agreeing == 1 or agreeing > 0.999


@pytest.mark.parametrize("side", [16, 33])
def test_turned_and_mirrored_is_turned_then_mirrored_to_the_last_bit(side: int) -> None:
    words = make_words(30, side, side, seed=1)
    angles = torch.linspace(-40, 40, 30, dtype=torch.float64).tolist()
    flips = [number % 3 == 0 for number in range(30)]
    assert torch.equal(turn(words, angles, flips), flip(turn(words, angles), torch.tensor(flips)))


def test_the_four_bytes_of_a_pixel_are_copied_as_they_are() -> None:
    words = make_words(4, 32, 32, seed=2)
    assert torch.equal(turn(words, [0.0] * 4), words)
    assert torch.equal(turn(words, [0.0] * 4, [True] * 4), words.flip(-1))


def test_a_quarter_turn_is_counter_clockwise() -> None:
    corner = torch.tensor([[[0, 9], [0, 0]]], dtype=torch.int32)
    assert turn(corner, [90.0]).tolist() == [[[9, 0], [0, 0]]]


def test_each_image_has_its_own_angle_and_zeros_come_from_outside() -> None:
    words = make_words(2, 16, 16) | 1
    turned = turn(words, [0.0, 45.0])
    assert torch.equal(turned[0], words[0])
    assert turned[1, 0, 0] == 0


def test_flip_mirrors_only_the_chosen() -> None:
    words = torch.arange(12, dtype=torch.int32).view(2, 2, 3)
    flipped = flip(words, torch.tensor([True, False]))
    assert flipped[0].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert torch.equal(flipped[1], words[1])
