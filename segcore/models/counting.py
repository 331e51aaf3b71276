"""What a network is made of, counted on the meta device: parameters, and operations of a forward pass."""

from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from segcore.models.registry import MODELS


@lru_cache(maxsize=64)
def count_gflops(model_name: str, image_size: int) -> float:
    """10^9 floating-point operations of one image's forward pass; a multiplication and its addition are two."""
    with torch.device("meta"):
        model = MODELS[model_name]().eval()
        image = torch.empty(1, 3, image_size, image_size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(image)
    return float(counter.get_total_flops() / 1e9)


def count_parameters(model_name: str) -> int:
    """Trainable numbers of a network."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in MODELS[model_name]().parameters())
