"""The networks by name."""

from segcore.models.resnet34_unet import ResNet34UNet
from segcore.models.unet import UNet

MODELS: dict[str, type[UNet] | type[ResNet34UNet]] = {"unet": UNet, "resnet34_unet": ResNet34UNet}
