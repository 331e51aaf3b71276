import pytest
from torch import nn

from segcore.execution.totals import dice_variation, epochs_to_90
from segcore.models import MODELS, count_gflops, count_parameters


@pytest.mark.parametrize(
    ("scores", "epoch"),
    [([0.1, 0.8, 0.85, 0.9], 3), ([0.9], 1), ([0.95, 0.5, 0.9], 1), ([0.0, 0.0], 1), ([0.1, 0.81, 0.9], 2)],
)
def test_epochs_until_90_percent_of_the_last(scores, epoch):
    assert epochs_to_90(scores) == epoch


@pytest.mark.parametrize(
    ("scores", "variation"),
    [([0.0, 0.5, 0.8, 0.7, 0.9], (0.1 + 0.2) / 2), ([0.1, 0.9, 0.8, 0.8], 0.0), ([0.5], None), ([0.1, 0.9], None)],
)
def test_variation_is_the_mean_change_over_the_second_half(scores, variation):
    # The second half of five epochs begins with the third, of four with the third too.
    assert dice_variation(scores) == (None if variation is None else pytest.approx(variation))


@pytest.mark.parametrize(("name", "parameters"), [("unet", 31_043_521), ("resnet34_unet", 23_502_881)])
def test_parameters(name, parameters):
    assert count_parameters(name) == parameters


def test_a_multiplication_and_its_addition_are_two_operations(monkeypatch):
    monkeypatch.setitem(MODELS, "tiny", lambda: nn.Conv2d(3, 2, kernel_size=3, padding=1))
    assert count_gflops("tiny", 8) == pytest.approx(2 * (3 * 2 * 9 * 8 * 8) / 1e9)


def test_gflops_grow_with_the_pixels():
    assert count_gflops("resnet34_unet", 128) == pytest.approx(4 * count_gflops("resnet34_unet", 64))
    assert count_gflops("unet", 64) > count_gflops("resnet34_unet", 64)
