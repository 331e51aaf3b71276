"""(b) What a user would pick instead: Lightning's `Trainer`, and segmentation-models-pytorch's pet dataset and loss.

As their tutorials have it: the dataset class of single files with item-wise transforms behind a `DataLoader` with
persistent workers, Lightning's own mixed precision, the loss logged every step.  The network class is the suite's own.
"""

import time
from pathlib import Path
from typing import Any

import lightning
import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.datasets import OxfordPetDataset
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as transforms

from benchmarks.contest import Outcome, Timed, Work, contend, seconds_since_start, synchronise
from segcore.build import has_native_bfloat16
from segcore.models import MODELS

SEED = 42
DEGREES = 15


class ToTensors:
    """Resizes, augments and scales one sample of the dataset, image and mask together."""

    def __init__(self, image_size: int, augment: bool) -> None:
        steps: list[Any] = [transforms.Resize((image_size, image_size), antialias=True)]
        if augment:
            steps += [
                transforms.RandomRotation(DEGREES, interpolation=InterpolationMode.NEAREST),
                transforms.RandomHorizontalFlip(),
            ]
        self.steps = transforms.Compose([*steps, transforms.ToDtype(torch.float32, scale=True)])

    def __call__(self, image: Any, mask: Any, trimap: Any) -> tuple[Tensor, Tensor]:
        pixels, codes = self.steps(
            tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)), tv_tensors.Mask(torch.from_numpy(mask)[None])
        )
        return pixels, codes


def make_loader(work: Work, names: tuple[str, ...], augment: bool) -> DataLoader[Any]:
    """The library's dataset, cut down to the work's images."""
    dataset = OxfordPetDataset(str(Path(work.root)), "train", transform=ToTensors(work.image_size, augment))
    dataset.filenames = list(names)
    return DataLoader(
        dataset,
        batch_size=work.batch_size,
        shuffle=augment,
        num_workers=work.workers,
        pin_memory=work.torch_device.type == "cuda",
        persistent_workers=work.workers > 0,
    )


class PetModule(lightning.LightningModule):
    """The network with loss, optimizer and scheduler, as Lightning wants them; times its own epochs."""

    def __init__(self, work: Work, batches: Timed[Any], outcome: Outcome) -> None:
        super().__init__()
        self.work = work
        self.batches = batches
        self.outcome = outcome
        self.model = MODELS[work.model](in_channels=3, out_channels=1)
        self.bce = smp.losses.SoftBCEWithLogitsLoss()
        self.dice = smp.losses.DiceLoss("binary", from_logits=True)
        self.began = 0.0

    def compute_loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Half BCE, half Dice; and the logits."""
        images, masks = batch
        logits = self.model(images)
        return 0.5 * self.bce(logits, masks) + 0.5 * self.dice(logits, masks), logits

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """A step's loss, logged, and averaged over the epoch."""
        loss = self.compute_loss(batch)[0]
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Loss and IoU of a batch."""
        loss, logits = self.compute_loss(batch)
        counts = smp.metrics.get_stats(logits.sigmoid() > 0.5, batch[1].long(), mode="binary")
        self.log("val_loss", loss)
        self.log("val_iou", smp.metrics.iou_score(*counts, reduction="micro-imagewise"))

    def configure_optimizers(self) -> Any:
        """AdamW with a cosine schedule."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.work.learning_rate)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.work.epochs + 1, 1e-5)]

    def begin(self) -> None:
        """Start the clock."""
        self.began = time.perf_counter()

    def note_training(self) -> None:
        """The weights are up to date: an epoch's time ends here, before its validation."""
        synchronise(self.device)
        self.outcome.training.append(time.perf_counter() - self.began)
        self.outcome.waiting.append(self.batches.take())

    def on_validation_epoch_start(self) -> None:
        """Called once the last training step of an epoch is done."""
        self.note_training()
        self.begin()

    def on_validation_epoch_end(self) -> None:
        """The validation's time; the next epoch begins after it."""
        synchronise(self.device)
        self.outcome.evaluation.append(time.perf_counter() - self.began)

    def on_train_epoch_end(self) -> None:
        """The epoch's mean loss is known; what follows belongs to the next one."""
        self.outcome.losses.append(float(self.trainer.callback_metrics["train_loss_epoch"]))
        self.begin()


def train(work: Work) -> Outcome:
    """Lightning's `fit`."""
    lightning.seed_everything(SEED, verbose=False)
    on_gpu = work.torch_device.type == "cuda"
    precision = "16-mixed" if on_gpu else "bf16-mixed" if has_native_bfloat16() else "32-true"
    outcome = Outcome(precision, images=len(work.train))
    batches = Timed(make_loader(work, work.train, augment=True))
    trainer = lightning.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=1,
        precision=precision,
        max_epochs=work.epochs + 1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = PetModule(work, batches, outcome)
    outcome.start = seconds_since_start()
    module.begin()
    trainer.fit(module, batches, make_loader(work, work.validation, augment=False))
    return outcome


if __name__ == "__main__":
    contend(train)
