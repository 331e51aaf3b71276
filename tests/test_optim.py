"""Optimizers against torch's own, learning-rate schedules against their formulas."""

import math

import pytest
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from segcore.optim import OPTIMIZERS, SCHEDULERS, adam, adamw, sgd, with_warmup


def parameter() -> nn.Parameter:
    """Three weights with a gradient."""
    weights = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    weights.grad = torch.tensor([0.5, 0.25, -1.0])
    return weights


def rates(optimizer: Optimizer, scheduler: LRScheduler, epochs: int) -> list[float]:
    """The rate of each epoch, and the one after the last."""
    sequence = [optimizer.param_groups[0]["lr"]]
    for _ in range(epochs):
        optimizer.step()
        scheduler.step()
        sequence.append(optimizer.param_groups[0]["lr"])
    return sequence


def plain(lr: float) -> Optimizer:
    """An optimizer to schedule."""
    return sgd([parameter()], lr=lr, weight_decay=0, momentum=0)


def test_sgd_by_hand() -> None:
    weights = parameter()
    optimizer = sgd([weights], lr=0.1, weight_decay=0.5, momentum=0.9)
    # Gradient plus weight decay: 0.5 + 0.5 * 1, and so on.
    optimizer.step()
    assert weights.tolist() == pytest.approx([1 - 0.1 * 1.0, -2 - 0.1 * -0.75, 3 - 0.1 * 0.5])
    optimizer.step()
    # Second step: velocity 0.9 * 1.0 + (0.5 + 0.5 * 0.9).
    assert weights[0].item() == pytest.approx(0.9 - 0.1 * (0.9 + 0.95))


def test_first_steps_of_adam_and_adamw_by_hand() -> None:
    # The first step of Adam is lr * sign(gradient); L2 decay changes the gradient, decoupled decay the weight.
    coupled, decoupled = parameter(), parameter()
    adam([coupled], lr=0.1, weight_decay=0.5, momentum=0).step()
    adamw([decoupled], lr=0.1, weight_decay=0.5, momentum=0).step()
    assert coupled.tolist() == pytest.approx([1 - 0.1, -2 + 0.1, 3 - 0.1])
    assert decoupled.tolist() == pytest.approx([0.95 - 0.1, -1.9 - 0.1, 2.85 + 0.1])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_equal_those_of_torch(name: str) -> None:
    ours, theirs = parameter(), parameter()
    optimizer = OPTIMIZERS[name]([ours], lr=0.01, weight_decay=0.1, momentum=0.9)
    reference: Optimizer = {
        "adam": torch.optim.Adam([theirs], lr=0.01, weight_decay=0.1),
        "adamw": torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1),
        "sgd": torch.optim.SGD([theirs], lr=0.01, weight_decay=0.1, momentum=0.9),
    }[name]
    assert type(optimizer) is type(reference)
    for _ in range(5):
        optimizer.step()
        reference.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_momentum_is_for_sgd_only(name: str) -> None:
    results = []
    for momentum in (0.0, 0.9):
        weights = parameter()
        OPTIMIZERS[name]([weights], lr=0.01, weight_decay=0.1, momentum=momentum).step()
        results.append(weights.tolist())
    assert results[0] == results[1] != parameter().tolist()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_are_fused(name: str) -> None:
    assert OPTIMIZERS[name]([parameter()], lr=0.01, weight_decay=0, momentum=0.9).defaults["fused"]


@pytest.mark.parametrize(("epochs", "lr", "eta_min"), [(12, 1e-3, 1e-5), (300, 1e-4, 1e-6), (1, 1e-3, 0.0)])
def test_cosine_follows_its_formula(epochs: int, lr: float, eta_min: float) -> None:
    optimizer = plain(lr)
    scheduler = SCHEDULERS["cosine"](optimizer, epochs=epochs, eta_min=eta_min, gamma=0.95)
    sequence = rates(optimizer, scheduler, epochs)
    expected = [eta_min + (lr - eta_min) * (1 + math.cos(math.pi * epoch / epochs)) / 2 for epoch in range(epochs + 1)]
    assert sequence == pytest.approx(expected, abs=1e-12)
    assert sequence[0] == lr and sequence[-1] == pytest.approx(eta_min, abs=1e-12)
    assert sequence[-2] > eta_min


@pytest.mark.parametrize("gamma", [0.95, 0.999])
def test_exponential_follows_its_formula(gamma: float) -> None:
    optimizer = plain(1e-3)
    scheduler = SCHEDULERS["exponential"](optimizer, epochs=20, eta_min=1e-5, gamma=gamma)
    assert rates(optimizer, scheduler, 20) == pytest.approx([1e-3 * gamma**epoch for epoch in range(21)])


def test_constant_stays() -> None:
    optimizer = plain(1e-3)
    scheduler = SCHEDULERS["constant"](optimizer, epochs=20, eta_min=1e-5, gamma=0.95)
    assert rates(optimizer, scheduler, 20) == [1e-3] * 21


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("warmup_epochs", [0, 1, 3])
def test_warmup_rises_linearly_and_then_follows_the_schedule(name: str, warmup_epochs: int) -> None:
    epochs, settings = 10, {"eta_min": 1e-5, "gamma": 0.9}
    optimizer, alone = plain(1e-2), plain(1e-2)
    schedule = SCHEDULERS[name]
    scheduler = with_warmup(optimizer, schedule, warmup_epochs=warmup_epochs, epochs=epochs, **settings)
    remaining = epochs - warmup_epochs
    rise = [1e-2 * (epoch + 1) / (warmup_epochs + 1) for epoch in range(warmup_epochs)]
    rest = rates(alone, schedule(alone, epochs=remaining, **settings), remaining)
    assert rates(optimizer, scheduler, epochs) == pytest.approx(rise + rest, rel=1e-9)


def test_warmup_of_a_cosine_ends_at_the_minimum() -> None:
    optimizer = plain(1e-2)
    scheduler = with_warmup(optimizer, SCHEDULERS["cosine"], warmup_epochs=4, epochs=20, eta_min=1e-4, gamma=1)
    sequence = rates(optimizer, scheduler, 20)
    assert max(sequence) == pytest.approx(1e-2) and sequence.index(max(sequence)) == 4
    assert sequence[12] == pytest.approx((1e-2 + 1e-4) / 2)
    assert sequence[-1] == pytest.approx(1e-4)


@pytest.mark.parametrize("warmup_epochs", [-1, 5, 6])
def test_warmup_has_to_leave_an_epoch(warmup_epochs: int) -> None:
    with pytest.raises(ValueError, match="warmup_epochs"):
        with_warmup(plain(1e-3), SCHEDULERS["cosine"], warmup_epochs=warmup_epochs, epochs=5, eta_min=1e-5, gamma=0.95)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_schedule_goes_on_from_its_saved_state(name: str) -> None:
    def start() -> tuple[Optimizer, LRScheduler]:
        optimizer = plain(1e-2)
        schedule = SCHEDULERS[name]
        return optimizer, with_warmup(optimizer, schedule, warmup_epochs=2, epochs=8, eta_min=1e-5, gamma=0.9)

    uninterrupted = rates(*start(), epochs=8)
    optimizer, scheduler = start()
    rates(optimizer, scheduler, epochs=4)
    second_optimizer, second_scheduler = start()
    second_optimizer.load_state_dict(optimizer.state_dict())
    second_scheduler.load_state_dict(scheduler.state_dict())
    assert rates(second_optimizer, second_scheduler, epochs=4) == uninterrupted[4:]
