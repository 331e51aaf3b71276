"""Optimizers and learning-rate schedules: torch's own classes behind one signature each."""

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, ExponentialLR, LinearLR, LRScheduler, SequentialLR

OptimizerFactory = Callable[..., Optimizer]
SchedulerFactory = Callable[..., LRScheduler]


def adam(parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float, momentum: float) -> Optimizer:
    """Adam (Kingma and Ba 2015); `weight_decay` is added to the gradient as an L2 penalty, `momentum` has no effect."""
    return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)


def adamw(parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float, momentum: float) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019); `weight_decay` is decoupled from the gradient, `momentum` has no effect."""
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)


def sgd(parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float, momentum: float) -> Optimizer:
    """Stochastic gradient descent; `momentum` in [0, 1), `weight_decay` is added to the gradient as an L2 penalty."""
    return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=momentum, fused=True)


OPTIMIZERS: dict[str, OptimizerFactory] = {"adam": adam, "adamw": adamw, "sgd": sgd}


def cosine(optimizer: Optimizer, *, epochs: int, eta_min: float, gamma: float) -> LRScheduler:
    """eta_min + (lr - eta_min) (1 + cos(pi epoch / epochs)) / 2 (Loshchilov and Hutter 2017); `gamma` has no effect.

    Epochs count from 0, so `eta_min` is reached by the step after the last epoch.
    """
    return CosineAnnealingLR(optimizer, T_max=epochs, eta_min=eta_min)


def exponential(optimizer: Optimizer, *, epochs: int, eta_min: float, gamma: float) -> LRScheduler:
    """lr gamma^epoch, epochs from 0; `epochs` and `eta_min` have no effect."""
    return ExponentialLR(optimizer, gamma=gamma)


def constant(optimizer: Optimizer, *, epochs: int, eta_min: float, gamma: float) -> LRScheduler:
    """lr throughout; `epochs`, `eta_min` and `gamma` have no effect."""
    return ConstantLR(optimizer, factor=1.0)


SCHEDULERS: dict[str, SchedulerFactory] = {"cosine": cosine, "exponential": exponential, "constant": constant}


def with_warmup(
    optimizer: Optimizer,
    schedule: SchedulerFactory,
    *,
    warmup_epochs: int,
    epochs: int,
    eta_min: float,
    gamma: float,
) -> LRScheduler:
    """`warmup_epochs` of a rate that rises linearly to lr, then `schedule` over the remaining epochs.

    Epoch e of the warm-up, from 0, has lr (e + 1) / (warmup_epochs + 1); without warm-up it is `schedule` alone.
    Step it once an epoch.  Raises ValueError where the warm-up leaves no epoch for the schedule.
    """
    if not 0 <= warmup_epochs < epochs:
        raise ValueError(f"warmup_epochs has to be from 0 to epochs - 1 = {epochs - 1}, got {warmup_epochs}")
    if warmup_epochs == 0:
        return schedule(optimizer, epochs=epochs, eta_min=eta_min, gamma=gamma)
    warmup = LinearLR(optimizer, start_factor=1 / (warmup_epochs + 1), total_iters=warmup_epochs)
    main = schedule(optimizer, epochs=epochs - warmup_epochs, eta_min=eta_min, gamma=gamma)
    return SequentialLR(optimizer, [warmup, main], milestones=[warmup_epochs])
