"""Augmentation in batches, on the device that trains: rotation, then horizontal flip, in one resampling."""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def turning_grid(angles_N: Tensor, flips_N: Tensor, height: int, width: int) -> Tensor:
    """Where each pixel of the augmented image comes from: float32 (N, H, W, 2), x and y in -1..1 over the source.

    Each image is turned counter-clockwise about its centre by its own angle, and then mirrored left to right where
    `flips_N` is true.  angles_N: float64, degrees.  flips_N: bool, on the same device.
    The arithmetic is that of torchvision.transforms.v2.functional.rotate on tensors, whose angle is one for all.
    """
    radians_N11 = (angles_N * (math.pi / 180)).view(-1, 1, 1)
    cosine_N11, sine_N11 = radians_N11.cos().float(), radians_N11.sin().float()
    # Columns lie at whole or half numbers around 0, so that a sign mirrors them without rounding.
    sign_N11 = torch.where(flips_N.view(-1, 1, 1), -1.0, 1.0)
    x_W = torch.linspace((1 - width) * 0.5, (width - 1) * 0.5, width, device=angles_N.device)
    y_H1 = torch.linspace((1 - height) * 0.5, (height - 1) * 0.5, height, device=angles_N.device).unsqueeze(-1)
    # Sums instead of a matrix product, which reduced precision on a GPU would round.  One row and one column an image
    # are multiplied, and only their sums are as large as the image.
    grid_NHW2 = torch.empty(len(angles_N), height, width, 2, device=angles_N.device)
    x_N1W = x_W * sign_N11
    torch.sub(x_N1W * (cosine_N11 / (0.5 * width)), y_H1 * (sine_N11 / (0.5 * width)), out=grid_NHW2[..., 0])
    torch.add(x_N1W * (sine_N11 / (0.5 * height)), y_H1 * (cosine_N11 / (0.5 * height)), out=grid_NHW2[..., 1])
    return grid_NHW2


def resample(pixels_NHW: Tensor, grid_NHW2: Tensor) -> Tensor:
    """The pixels from where the grid says, the nearest of each; zeros from outside.

    pixels_NHW: of any type of four bytes, which are copied as they are: four channels of one byte are one number.
    """
    as_float_N1HW = pixels_NHW.view(torch.float32).unsqueeze(1)
    moved_N1HW = grid_sample(as_float_N1HW, grid_NHW2, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved_N1HW.squeeze(1).view(pixels_NHW.dtype)


def flip(pixels_NHW: Tensor, flips_N: Tensor) -> Tensor:
    """The images mirrored left to right where `flips_N` (bool, same device) is true; the others as they are."""
    return torch.where(flips_N.view(-1, 1, 1), pixels_NHW.flip(-1), pixels_NHW)
