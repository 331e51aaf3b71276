"""The training loop: receives built objects, yields a record an epoch, knows nothing of files, MLflow or terminals."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from segcore.batches import LabelledBatch

AUTOCAST_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class TrainingData(Protocol):
    """Batches of an epoch, in an order that depends on the epoch's number alone."""

    @property
    def num_batches(self) -> int: ...
    @property
    def num_images(self) -> int: ...
    def epoch(self, epoch: int) -> Iterator[LabelledBatch]: ...


class DivergedError(Exception):
    """A loss is not finite; the message tells which, and in which epoch."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch's outcome.

    epoch: from 1.  metrics: `train/loss` (mean over batches), what validation returned, `lr` (the epoch's),
    `images_per_second` (training alone), `epoch_seconds` (training and validation).
    is_best: the first epoch so far with the largest `val/dice_per_image`.
    """

    epoch: int
    metrics: dict[str, float]
    is_best: bool


@dataclass
class Trainer:
    """Trains a model for a number of epochs.

    model, loss: on `device`; the loss is called as loss(logits, masks, valid).
    validate: model -> metrics, among them `val/loss` and `val/dice_per_image`.
    precision: float32, float16 (with a gradient scaler) or bfloat16, the type that autocast chooses.
    clip_norm: the largest norm of all gradients together; None does not clip.
    on_step: called before each step with the epoch and the number of steps done in it.
    forward: what makes logits of images in a training step, the model's weights in it: the model itself, or compiled.
    """

    model: nn.Module
    loss: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler
    data: TrainingData
    validate: Callable[[nn.Module], dict[str, float]]
    epochs: int
    device: torch.device
    precision: str = "float32"
    clip_norm: float | None = None
    on_step: Callable[[int, int], None] = lambda epoch, step: None
    forward: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")
        self.best_dice = -math.inf

    def fit(self) -> Iterator[EpochRecord]:
        """Train, and yield a record after each epoch, while the model still has that epoch's weights.

        Raises DivergedError when the training or validation loss is not finite.
        """
        for epoch in range(1, self.epochs + 1):
            start = time.perf_counter()
            learning_rate = self.optimizer.param_groups[0]["lr"]
            loss = self.train_epoch(epoch)
            train_seconds = time.perf_counter() - start
            require_finite("training loss", loss, epoch)
            validation = self.validate(self.model)
            require_finite("validation loss", validation["val/loss"], epoch)
            is_best = validation["val/dice_per_image"] > self.best_dice
            self.best_dice = max(self.best_dice, validation["val/dice_per_image"])
            self.scheduler.step()
            metrics = {
                "train/loss": loss,
                **validation,
                "lr": learning_rate,
                "images_per_second": self.data.num_images / train_seconds,
                "epoch_seconds": time.perf_counter() - start,
            }
            yield EpochRecord(epoch, metrics, is_best)

    def train_epoch(self, epoch: int) -> float:
        """One pass over the training images; the mean of the batches' losses.

        The host never waits for the device inside: losses are summed there, and read once at the end.
        """
        self.model.train()
        forward = self.forward or self.model
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for step, batch in enumerate(self.data.epoch(epoch)):
            self.on_step(epoch, step)
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, AUTOCAST_TYPES[self.precision], enabled=self.precision != "float32"):
                logits = forward(batch.images_N3HW)
            loss = self.loss(logits, batch.masks_N1HW, batch.valid_N1HW)
            self.scaler.scale(loss).backward()
            if self.clip_norm is not None:
                # Before the step: clipping has to see the unscaled gradients.
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            total += loss.detach()
        return total.item() / self.data.num_batches


def require_finite(name: str, loss: float, epoch: int) -> None:
    """Raise DivergedError where the loss is infinite or not a number."""
    if not math.isfinite(loss):
        raise DivergedError(f"{name} is {loss} in epoch {epoch}: the training diverged")
