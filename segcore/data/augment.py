"""Augmentation in batches, on the device that trains: rotation, then horizontal flip, of image and mask together."""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def rotate(pixels_NCHW: Tensor, angles_N: Tensor) -> Tensor:
    """Each image turned counter-clockwise about its centre by its own angle: nearest pixel, zeros from outside.

    pixels_NCHW: float32.  angles_N: float64, degrees, on the same device.  Returns float32 (N, C, H, W).
    The arithmetic is that of torchvision.transforms.v2.functional.rotate on tensors, whose angle is one for all.
    """
    height, width = pixels_NCHW.shape[-2:]
    device = pixels_NCHW.device
    radians_N11 = (angles_N * (math.pi / 180)).view(-1, 1, 1)
    cosine_N11, sine_N11 = radians_N11.cos().float(), radians_N11.sin().float()
    x_W = torch.linspace((1 - width) * 0.5, (width - 1) * 0.5, width, device=device)
    y_H1 = torch.linspace((1 - height) * 0.5, (height - 1) * 0.5, height, device=device).unsqueeze(-1)
    # Sums instead of a matrix product, which reduced precision on a GPU would round.
    source_x_NHW = x_W * (cosine_N11 / (0.5 * width)) - y_H1 * (sine_N11 / (0.5 * width))
    source_y_NHW = x_W * (sine_N11 / (0.5 * height)) + y_H1 * (cosine_N11 / (0.5 * height))
    grid_NHW2 = torch.stack((source_x_NHW, source_y_NHW), dim=-1)
    return grid_sample(pixels_NCHW, grid_NHW2, mode="nearest", padding_mode="zeros", align_corners=False)


def flip(pixels_NCHW: Tensor, flips_N: Tensor) -> Tensor:
    """The images mirrored left to right where `flips_N` (bool, same device) is true; the others as they are."""
    return torch.where(flips_N.view(-1, 1, 1, 1), pixels_NCHW.flip(-1), pixels_NCHW)
