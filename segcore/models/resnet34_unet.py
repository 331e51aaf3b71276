"""U-Net decoder on a ResNet-34 encoder (He et al., CVPR 2016), in the report's variant, trained from scratch.

Unlike the standard ResNet-34, the first block of every stage halves the size, so the deepest features are 1/64 of
the input, and a skip connection carries a stage's input instead of its output.
"""

import torch
from torch import Tensor, nn

from segcore.models.blocks import conv_norm_relu, double_conv, pad_to_multiple, upsample

# The defaults of ResNet-34: blocks and channels of its four stages.
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
# (in, skip, out) channels of the decoder's stages, from coarse to fine.
DECODER = ((256, 256, 128), (128, 128, 64), (64, 64, 32), (32, 64, 32))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the shortcut is projected where stride or channels change."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features_NCHW: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H / stride, W / stride)."""
        output: Tensor = self.relu(self.residual(features_NCHW) + self.shortcut(features_NCHW))
        return output


def residual_stage(in_channels: int, out_channels: int, num_blocks: int) -> nn.Sequential:
    """`num_blocks` basic blocks, the first of which halves height and width."""
    first = BasicBlock(in_channels, out_channels, stride=2)
    return nn.Sequential(first, *(BasicBlock(out_channels, out_channels, stride=1) for _ in range(num_blocks - 1)))


class ResNet34UNet(nn.Module):
    """ResNet-34 encoder, a narrowing centre, four decoder stages with skip connections and two without.

    in_channels, out_channels: channels of the images and of the logits.  23,502,881 parameters with the defaults.
    """

    size_multiple = 64

    def __init__(self, in_channels: int = 3, out_channels: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        widths_in = (64, *(width for _, width in STAGES[:-1]))
        self.encoder = nn.ModuleList(
            residual_stage(width_in, width, num_blocks)
            for width_in, (num_blocks, width) in zip(widths_in, STAGES, strict=True)
        )
        self.centre = nn.Sequential(*conv_norm_relu(STAGES[-1][1], DECODER[0][0], bias=False))
        self.upsamplers = nn.ModuleList(upsample(width_in, width) for width_in, _, width in DECODER)
        self.decoder = nn.ModuleList(double_conv(skip + width, width, bias=False) for _, skip, width in DECODER)
        last = DECODER[-1][2]
        self.head = nn.Sequential(
            upsample(last, last),
            double_conv(last, last, bias=False),
            upsample(last, last),
            double_conv(last, last, bias=False),
            nn.Conv2d(last, out_channels, kernel_size=1),
        )

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits of shape (N, out_channels, H, W) for images in [0, 1]; H and W of at least 32."""
        height, width = images_NCHW.shape[-2:]
        features = self.stem(pad_to_multiple(images_NCHW, self.size_multiple))
        skips = []
        for stage in self.encoder:
            skips.append(features)
            features = stage(features)
        features = self.centre(features)
        for upsampler, stage, skip in zip(self.upsamplers, self.decoder, reversed(skips), strict=True):
            features = stage(torch.cat([skip, upsampler(features)], dim=1))
        logits: Tensor = self.head(features)
        return logits[..., :height, :width]
