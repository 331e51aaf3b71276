"""The training loop: receives built objects, yields a record an epoch, knows nothing of files, MLflow or terminals."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from segcore.batches import LabelledBatch
from segcore.randomness import global_states, restore_global_states

AUTOCAST_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class TrainingData(Protocol):
    """Batches of an epoch, in an order that depends on the epoch's number alone; all, or those from `start` on."""

    @property
    def num_batches(self) -> int: ...
    @property
    def num_images(self) -> int: ...
    def epoch(self, epoch: int, start: int = 0) -> Iterator[LabelledBatch]: ...


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

    `state_dict` may be called whenever no step is under way: in `on_step`, inside `validate`, after a record.
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
        self.begin(1)

    def begin(self, epoch: int) -> None:
        """Stand at the start of an epoch."""
        self.epoch, self.step = epoch, 0
        self.total_loss = torch.zeros((), dtype=torch.float64, device=self.device)
        # Used in this epoch: by its steps so far, and by all of it until this process went on with it.
        self.step_seconds = self.seconds_before = 0.0
        self.went_on = time.perf_counter()

    def fit(self) -> Iterator[EpochRecord]:
        """Train, and yield a record after each epoch, while the model still has that epoch's weights.

        Raises DivergedError when the training or validation loss is not finite.
        """
        while self.epoch <= self.epochs:
            epoch, learning_rate = self.epoch, self.optimizer.param_groups[0]["lr"]
            self.went_on = time.perf_counter()
            loss = self.train_epoch()
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
                "images_per_second": self.data.num_images / self.step_seconds,
                "epoch_seconds": self.seconds_used(),
            }
            self.begin(epoch + 1)
            yield EpochRecord(epoch, metrics, is_best)

    def train_epoch(self) -> float:
        """One pass over the training images, or what is left of it; the mean of all its batches' losses.

        The host never waits for the device inside: losses are summed there, and read once at the end.
        """
        self.model.train()
        forward = self.forward or self.model
        start = time.perf_counter() - self.step_seconds
        for batch in self.data.epoch(self.epoch, self.step):
            self.step_seconds = time.perf_counter() - start
            self.on_step(self.epoch, self.step)
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
            self.total_loss += loss.detach()
            self.step += 1
        mean_loss = self.total_loss.item() / self.data.num_batches
        self.step_seconds = time.perf_counter() - start
        return mean_loss

    def seconds_used(self) -> float:
        """By the epoch under way, in this process and in those before."""
        return self.seconds_before + time.perf_counter() - self.went_on

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on from here as if nothing had happened: tensors and plain values."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "total_loss": self.total_loss.item(),
            "step_seconds": self.step_seconds,
            "seconds": self.seconds_used(),
            "best_dice": self.best_dice,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": global_states(self.device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where `state_dict` was called, in a trainer that was built like that one."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        align_with_parameters(self.optimizer)
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        restore_global_states(state["random"], self.device)
        self.begin(state["epoch"])
        self.step, self.best_dice = state["step"], state["best_dice"]
        self.total_loss += state["total_loss"]
        self.step_seconds, self.seconds_before = state["step_seconds"], state["seconds"]


def align_with_parameters(optimizer: Optimizer) -> None:
    """Bring the optimizer's moments into the memory layout of their parameters.

    A file keeps none, and a fused step goes through parameter, gradient and moments side by side in memory.
    """
    for parameter, moments in optimizer.state.items():
        for name, moment in moments.items():
            if torch.is_tensor(moment) and moment.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter, dtype=moment.dtype).copy_(moment)


def require_finite(name: str, loss: float, epoch: int) -> None:
    """Raise DivergedError where the loss is infinite or not a number."""
    if not math.isfinite(loss):
        raise DivergedError(f"{name} is {loss} in epoch {epoch}: the training diverged")
