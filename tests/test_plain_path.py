"""What makes a training fast does not change what it computes: its losses are those of a plain loop."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from segcore import build
from segcore.ablation import read_preset
from segcore.batches import LabelledBatch
from segcore.config import Layer, Problems, RunConfig, resolve
from segcore.data import Part, TrainLoader, pack
from segcore.losses import BCEDiceLoss
from segcore.trainer import Trainer

CPU = torch.device("cpu")
EPOCHS = 3


def make_config(model: str) -> RunConfig:
    """A short training on small images."""
    settings = {"model.name": model, "data.image_size": 64, "data.batch_size": 4, "trainer.epochs": EPOCHS}
    config = resolve([read_preset("base")[0], Layer("test", settings | {"optimizer.lr": 1e-3})], 42, Problems())
    assert config is not None
    return config


def make_loader(config: RunConfig) -> TrainLoader:
    """Ten images, so that the last batch of an epoch is smaller."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, 64, 64, 3), dtype=np.uint8)
    codes = np.where(images[..., 0] > 127, 1, 2).astype(np.uint8)
    return build.build_train_loader(config, Part(tuple("abcdefghij"), (None,) * 10, pack(images, codes)), CPU)


def train_fast(config: RunConfig) -> list[float]:
    """The suite's way: channels last, a fused optimizer, losses summed on the device."""
    model = build.build_model(config, CPU)
    optimizer = build.build_optimizer(config, model)
    trainer = Trainer(
        model=model,
        loss=build.build_loss(config),
        optimizer=optimizer,
        scheduler=build.build_scheduler(config, optimizer),
        data=make_loader(config),
        validate=lambda model: {"val/loss": 0.0, "val/dice_per_image": 0.0},
        epochs=EPOCHS,
        device=CPU,
    )
    return [record.metrics["train/loss"] for record in trainer.fit()]


def train_plain(config: RunConfig, batches: Callable[[int], Iterator[LabelledBatch]]) -> list[float]:
    """PyTorch's default memory layout, an optimizer that is a loop over parameters, each loss read at once."""
    model = build.build_model(config, CPU).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, foreach=False, fused=False)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS, eta_min=1e-5)
    loss_function = BCEDiceLoss()
    means = []
    for epoch in range(1, EPOCHS + 1):
        losses = []
        for batch in batches(epoch):
            optimizer.zero_grad(set_to_none=False)
            loss = loss_function(model(batch.images_N3HW.contiguous()), batch.masks_N1HW)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
        means.append(sum(losses) / len(losses))
    return means


@pytest.mark.parametrize("name", ["resnet34_unet", "unet"])
def test_the_losses_are_those_of_a_plain_loop(name: str) -> None:
    config = make_config(name)
    fast, plain = train_fast(config), train_plain(config, make_loader(config).epoch)
    assert fast[0] > fast[-1]  # it learns something
    assert fast == pytest.approx(plain, rel=2e-3)
    assert fast[0] == pytest.approx(plain[0], rel=1e-4)
