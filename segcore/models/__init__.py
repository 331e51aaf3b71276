"""Segmentation networks: images (N, in_channels, H, W) in [0, 1] to logits (N, out_channels, H, W) of the same size."""

from segcore.models.resnet34_unet import ResNet34UNet
from segcore.models.unet import UNet

MODELS: dict[str, type[UNet] | type[ResNet34UNet]] = {"unet": UNet, "resnet34_unet": ResNet34UNet}
