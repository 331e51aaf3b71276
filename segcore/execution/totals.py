"""Metrics of a training as a whole."""

import math
import resource
from collections.abc import Sequence
from itertools import pairwise

import torch

from segcore.config import RunConfig
from segcore.execution.folder import RunFolder
from segcore.models import count_gflops, count_parameters


def training_metrics(folder: RunFolder, config: RunConfig, memory_gib: float) -> dict[str, float]:
    """Metrics of the training as a whole, from its epochs, its network, and the most memory that it held."""
    epochs = [line["metrics"] for line in folder.lines("epochs")]
    scores = [metrics["val/dice_per_image"] for metrics in epochs]
    variation = dice_variation(scores)
    return {
        "train_seconds": math.fsum(metrics["epoch_seconds"] for metrics in epochs),
        "epochs_to_90": epochs_to_90(scores),
        **({} if variation is None else {"val/dice_variation": variation}),
        "parameters": count_parameters(config.model.name),
        "gflops": count_gflops(config.model.name, config.data.image_size),
        "peak_memory_gib": memory_gib,
    }


def epochs_to_90(scores: Sequence[float]) -> int:
    """The first epoch, from 1, whose validation Dice reaches 90 % of the last epoch's."""
    return next(epoch for epoch, score in enumerate(scores, start=1) if score >= 0.9 * scores[-1])


def dice_variation(scores: Sequence[float]) -> float | None:
    """Mean absolute change of the validation Dice from epoch to epoch, over the second half of the training.

    The first half is left out because there the change is mostly progress.  None of fewer than three epochs.
    """
    late = scores[len(scores) // 2 :]
    changes = [abs(after - before) for before, after in pairwise(late)]
    return math.fsum(changes) / len(changes) if changes else None


def peak_memory_gib(device: torch.device) -> float:
    """The most memory held so far, GiB: allocated on the GPU, or resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30  # KiB on Linux
