"""The numbers, tables and pictures of fabricated runs: formulas instead of a training."""

import functools
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from PIL import Image

from segcore.plan import Run

BREEDS = ("Abyssinian", "Bengal", "beagle", "boxer")
SHEETS = ("worst", "best", "tenth_batches")
PARAMETERS = {"unet": 31_043_521, "resnet34_unet": 23_502_881}
# GFLOPs of an image of 256 x 256, and seconds of an epoch at 64 x 64, in round numbers.
GFLOPS = {"unet": 109.0, "resnet34_unet": 31.0}
SECONDS = {"unet": 40.0, "resnet34_unet": 10.0}


@dataclass(frozen=True)
class Look:
    """How the runs of an ablation look.  quality: the test Dice in [0, 1]; state: (state, reason) of the run."""

    quality: float
    state: str
    reason: str
    num_images: int
    breeds: bool


def make_epochs(run: Run, look: Look) -> list[dict[str, float]]:
    """Metrics of each epoch: a curve that saturates at the quality; half of them where the run did not finish."""
    total = run.config.trainer.epochs
    number = total if look.state == "finished" else max(1, total // 2)
    return [epoch_metrics(run, look, epoch, epoch / total) for epoch in range(1, number + 1)]


def epoch_metrics(run: Run, look: Look, epoch: int, progress: float) -> dict[str, float]:
    """One epoch's metrics.  progress: in (0, 1]."""
    wiggle = 0.01 * math.sin(7.0 * epoch + run.seed) * (1 - progress)
    dice = look.quality * (1 - 0.5 * math.exp(-6 * progress)) + wiggle
    seconds = SECONDS[run.config.model.name] * (1 + 0.01 * math.sin(run.seed + epoch))
    return {
        "train/loss": 1.05 - dice,
        "val/loss": 1.1 - dice,
        "val/dice_per_image": dice,
        "val/dice_dataset": dice + 0.01,
        "val/dice_batch_soft": dice - 0.01,
        "lr": run.config.optimizer.lr * (1 - 0.99 * progress),
        "images_per_second": 4 * look.num_images / seconds,
        "epoch_seconds": seconds,
    }


def training_metrics(run: Run, epochs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Metrics of the training as a whole, defined as the worker does."""
    scores = [metrics["val/dice_per_image"] for metrics in epochs]
    changes = [abs(after - before) for before, after in pairwise(scores[len(scores) // 2 :])]
    scale = (run.config.data.image_size / 256) ** 2
    return {
        "train_seconds": sum(metrics["epoch_seconds"] for metrics in epochs),
        "epochs_to_90": float(next(n for n, score in enumerate(scores, start=1) if score >= 0.9 * scores[-1])),
        **({"val/dice_variation": sum(changes) / len(changes)} if changes else {}),
        "parameters": float(PARAMETERS[run.config.model.name]),
        "gflops": GFLOPS[run.config.model.name] * scale,
        "peak_memory_gib": 1.5,
    }


def overlap_metrics(dice: float) -> dict[str, float]:
    """All test metrics around one Dice: a little less at the fixed thresholds, a little more over the dataset."""
    metrics: dict[str, float] = {}
    for part, loss in (("test", 0.0), ("test_at_0.4", 0.001), ("test_at_0.5", 0.002)):
        scores = {"dice_per_image": dice - loss, "dice_dataset": dice - loss + 0.01}
        scores |= {"iou_per_image": dice - loss - 0.1, "iou_dataset": dice - loss - 0.09}
        metrics |= {f"{part}/{name}": score for name, score in scores.items()}
    return metrics | {"test_at_0.4/dice_batch": dice + 0.005}


def per_image(look: Look, image_size: int) -> pd.DataFrame:
    """A test image a row, as segcore.tables makes it: Dice spread evenly around the quality, the same images hard."""
    num_images = look.num_images
    reach = 0.8 * min(look.quality, 1 - look.quality)
    # 7 and 40 have no common divisor, so that breeds, which repeat every four images, share hard ones evenly.
    ranks = np.argsort([7 * number % num_images for number in range(num_images)], kind="stable")
    wanted = look.quality + reach * (np.linspace(-1, 1, num_images)[ranks] if num_images > 1 else 0)
    positives = image_size**2 // 2
    tp = np.round(wanted * positives).astype(np.int64)
    errors = positives - tp
    breeds = [BREEDS[number % len(BREEDS)] for number in range(num_images)]
    columns = {
        "name": pd.Series([f"{breed}_{number}" for number, breed in enumerate(breeds)], dtype="str"),
        "breed": pd.Series(breeds if look.breeds else [None] * num_images, dtype="str"),
        "tp": tp, "fp": errors, "fn": errors, "tn": image_size**2 - tp - 2 * errors,
        "dice": 2 * tp / (2 * tp + 2 * errors), "iou": tp / (tp + 2 * errors),
    }  # fmt: skip
    return pd.DataFrame(columns)


def threshold_curve(dice: float) -> pd.DataFrame:
    """A parabola over the thresholds 0.05 to 0.95, highest at 0.45."""
    thresholds = np.round(np.arange(0.05, 0.951, 0.01), 2)
    scores = dice - 0.2 * (thresholds - 0.45) ** 2
    names = {"dice_per_image": 0.0, "dice_dataset": 0.01, "iou_per_image": -0.1, "iou_dataset": -0.09}
    return pd.DataFrame({"threshold": thresholds} | {name: scores + more for name, more in names.items()})


@functools.cache
def picture(number: int) -> bytes:
    """A small PNG of one colour."""
    data = io.BytesIO()
    Image.new("RGB", (32, 16), (60 * number, 120, 200)).save(data, "PNG")
    return data.getvalue()
