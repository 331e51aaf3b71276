"""U-Net (Ronneberger, Fischer and Brox, MICCAI 2015), with batch normalisation and padded convolutions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segcore.models.blocks import double_conv, pad_to_multiple, upsample


class UNet(nn.Module):
    """Encoder of two convolutions a stage, centre, and a decoder that concatenates each encoder stage's output.

    in_channels, out_channels: channels of the images and of the logits.
    widths: channels of the encoder stages, from fine to coarse; the centre has twice the last one.
    31,043,521 parameters with the defaults.
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 1, widths: Sequence[int] = (64, 128, 256, 512)
    ) -> None:
        super().__init__()
        coarse_to_fine = list(reversed(widths))
        self.size_multiple = 2 ** len(widths)
        self.encoder = nn.ModuleList(
            double_conv(channels_in, channels_out, bias=True)
            for channels_in, channels_out in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(kernel_size=2)
        self.centre = double_conv(widths[-1], 2 * widths[-1], bias=True)
        self.upsamplers = nn.ModuleList(upsample(2 * width, width) for width in coarse_to_fine)
        self.decoder = nn.ModuleList(double_conv(2 * width, width, bias=True) for width in coarse_to_fine)
        self.head = nn.Conv2d(widths[0], out_channels, kernel_size=1)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits of shape (N, out_channels, H, W) for images in [0, 1]; H and W of at least 32."""
        height, width = images_NCHW.shape[-2:]
        features = pad_to_multiple(images_NCHW, self.size_multiple)
        skips = []
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
            features = self.pool(features)
        features = self.centre(features)
        for upsampler, stage, skip in zip(self.upsamplers, self.decoder, reversed(skips), strict=True):
            features = stage(torch.cat([skip, upsampler(features)], dim=1))
        logits: Tensor = self.head(features)
        return logits[..., :height, :width]
