import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from segcore.losses import BCELoss
from segcore.optim import OPTIMIZERS, SCHEDULERS
from segcore.trainer import DivergedError, Trainer

CPU = torch.device("cpu")


@dataclass
class TinyBatch:
    images_N3HW: torch.Tensor
    masks_N1HW: torch.Tensor
    valid_N1HW: torch.Tensor | None = None


class TinyData:
    """Two batches of two images each; the mask is where the first channel is bright."""

    num_batches = 2
    num_images = 4

    def __init__(self, spoil_epoch: int | None = None) -> None:
        self.spoil_epoch = spoil_epoch
        self.asked: list[int] = []

    def epoch(self, epoch, start=0):
        self.asked.append(epoch)
        generator = torch.Generator().manual_seed(epoch)
        for number in range(self.num_batches):
            images = torch.rand(2, 3, 8, 8, generator=generator)
            masks = (images[:, :1] > 0.5).float()
            if epoch == self.spoil_epoch:
                images = images * math.nan
            if number >= start:
                yield TinyBatch(images, masks)


def make_trainer(dice=lambda epoch: 0.5, *, epochs=3, data=None, device=CPU, **arguments):
    """A one-layer network; validation returns what `dice` says of the epoch."""
    torch.manual_seed(0)
    model = nn.Conv2d(3, 1, kernel_size=1).to(device)
    optimizer = OPTIMIZERS["sgd"](model.parameters(), lr=0.5, weight_decay=0.0, momentum=0.0)
    data = data or TinyData()
    return Trainer(
        model=model,
        loss=BCELoss(),
        optimizer=optimizer,
        scheduler=SCHEDULERS["exponential"](optimizer, epochs=epochs, eta_min=0.0, gamma=0.5),
        data=data,
        validate=lambda model: {"val/loss": 0.1, "val/dice_per_image": dice(len(data.asked))},
        epochs=epochs,
        device=device,
        **arguments,
    )


def test_a_record_an_epoch_with_the_rate_of_that_epoch():
    trainer = make_trainer()
    records = list(trainer.fit())
    assert [record.epoch for record in records] == [1, 2, 3]
    assert [record.metrics["lr"] for record in records] == [0.5, 0.25, 0.125]
    assert trainer.data.asked == [1, 2, 3]
    assert set(records[0].metrics) == {
        "train/loss", "val/loss", "val/dice_per_image", "lr", "images_per_second", "epoch_seconds",
    }  # fmt: skip


def test_a_step_takes_the_forward_that_it_is_given_and_validation_the_model():
    seen = []
    trainer = make_trainer(epochs=1)
    trainer.forward = lambda images: seen.append(len(images)) or trainer.model(images)
    plain, given = list(make_trainer(epochs=1).fit()), list(trainer.fit())
    assert seen == [2, 2]
    assert given[0].metrics["train/loss"] == plain[0].metrics["train/loss"]


def test_the_training_loss_is_the_mean_of_the_batches_before_their_steps():
    trainer = make_trainer(epochs=1)
    model = nn.Conv2d(3, 1, kernel_size=1)
    model.load_state_dict(trainer.model.state_dict())
    losses = []
    for batch in TinyData().epoch(1):
        loss = BCELoss()(model(batch.images_N3HW), batch.masks_N1HW)
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.5 * gradient
    (record,) = trainer.fit()
    assert record.metrics["train/loss"] == pytest.approx(sum(losses) / 2, rel=1e-6)
    for trained, by_hand in zip(trainer.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(trained, by_hand)


def test_training_learns():
    records = list(make_trainer(epochs=30).fit())
    assert records[-1].metrics["train/loss"] < 0.95 * records[0].metrics["train/loss"]


def test_the_best_epoch_is_the_first_maximum():
    scores = {1: 0.3, 2: 0.7, 3: 0.7, 4: 0.6, 5: 0.8}
    records = list(make_trainer(scores.__getitem__, epochs=5).fit())
    assert [record.epoch for record in records if record.is_best] == [1, 2, 5]


def test_the_same_start_gives_the_same_numbers():
    first = [record.metrics["train/loss"] for record in make_trainer().fit()]
    second = [record.metrics["train/loss"] for record in make_trainer().fit()]
    assert first == second


def test_a_loss_that_is_not_finite_ends_the_training_with_its_epoch():
    trainer = make_trainer(data=TinyData(spoil_epoch=2))
    records = trainer.fit()
    assert next(records).epoch == 1
    with pytest.raises(DivergedError, match="training loss is nan in epoch 2"):
        next(records)


def test_a_validation_loss_that_is_not_finite_ends_it_too():
    trainer = make_trainer()
    trainer.validate = lambda model: {"val/loss": math.inf, "val/dice_per_image": 0.0}
    with pytest.raises(DivergedError, match="validation loss is inf in epoch 1"):
        next(trainer.fit())


def test_clipping_bounds_the_update():
    free, clipped = make_trainer(epochs=1), make_trainer(epochs=1, clip_norm=1e-3)
    free.data.num_batches = clipped.data.num_batches = 1
    start = [parameter.detach().clone() for parameter in free.model.parameters()]
    for trainer in (free, clipped):
        list(trainer.fit())
    moved = [
        math.sqrt(sum(((a - b) ** 2).sum().item() for a, b in zip(trainer.model.parameters(), start, strict=True)))
        for trainer in (free, clipped)
    ]
    assert moved[1] == pytest.approx(0.5 * 1e-3, rel=1e-3)  # rate times norm
    assert moved[0] > 10 * moved[1]


def test_bfloat16_computes_the_forward_pass_in_bfloat16_and_stays_near_float32():
    seen = []
    trainer = make_trainer(precision="bfloat16")
    trainer.model.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    losses = [record.metrics["train/loss"] for record in trainer.fit()]
    reference = [record.metrics["train/loss"] for record in make_trainer().fit()]
    assert set(seen) == {torch.bfloat16}
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())
    assert losses == pytest.approx(reference, rel=0.02)


def test_each_step_is_announced():
    steps = []
    list(make_trainer(epochs=2, on_step=lambda epoch, step: steps.append((epoch, step))).fit())
    assert steps == [(1, 0), (1, 1), (2, 0), (2, 1)]


class WatchedData(TinyData):
    """Batches on the GPU; between the first and the last, waiting for it is an error."""

    def epoch(self, epoch, start=0):
        batches = [
            TinyBatch(batch.images_N3HW.cuda(), batch.masks_N1HW.cuda()) for batch in super().epoch(epoch, start)
        ]  # fmt: skip
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield from batches
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_no_step_waits_for_the_gpu(precision, clip_norm):
    trainer = make_trainer(
        data=WatchedData(), device=torch.device("cuda"), precision=precision, clip_norm=clip_norm
    )  # fmt: skip
    assert math.isfinite(trainer.train_epoch())
