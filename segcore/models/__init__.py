"""Segmentation networks: images (N, in_channels, H, W) in [0, 1] to logits (N, out_channels, H, W) of the same size."""

from segcore.models.counting import count_gflops, count_parameters
from segcore.models.registry import MODELS

__all__ = ["MODELS", "count_gflops", "count_parameters"]
