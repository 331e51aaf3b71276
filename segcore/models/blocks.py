"""Building blocks that the architectures share."""

import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm_relu(in_channels: int, out_channels: int, *, bias: bool) -> list[nn.Module]:
    """3x3 convolution (padding 1), batch normalisation, ReLU: the layers, to be put into a sequence."""
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=bias),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


def double_conv(in_channels: int, out_channels: int, *, bias: bool) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch normalisation and ReLU; (N, in, H, W) -> (N, out, H, W)."""
    return nn.Sequential(
        *conv_norm_relu(in_channels, out_channels, bias=bias),
        *conv_norm_relu(out_channels, out_channels, bias=bias),
    )


def upsample(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """2x2 transposed convolution of stride 2; (N, in, H, W) -> (N, out, 2H, 2W)."""
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)


def pad_to_multiple(images_NCHW: Tensor, multiple: int) -> Tensor:
    """Zeros at the right and bottom, up to the next height and width that `multiple` divides."""
    height, width = images_NCHW.shape[-2:]
    return F.pad(images_NCHW, (0, -width % multiple, 0, -height % multiple))
