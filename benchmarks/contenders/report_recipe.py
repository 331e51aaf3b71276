"""(a) The report's recipe: a dataset of single files behind a `DataLoader`, and a plain loop around PyTorch.

Written from the report's facts: every epoch opens, decodes, resizes and augments each image anew with Pillow; the
network keeps PyTorch's memory layout; float32 on a CPU, float16 autocast with a gradient scaler on CUDA; the loss is
read after every step; cuDNN deterministic.  The network class and the loss function are the suite's own, so that only
the way of training differs.
"""

import random
import time
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from benchmarks.contest import Outcome, Timed, Work, contend, seconds_since_start, synchronise
from segcore.losses import BCEDiceLoss
from segcore.models import MODELS

SEED = 42
DEGREES = 15
SMOOTH = 1e-6


class PetDataset(Dataset[tuple[Tensor, Tensor]]):
    """One image (3, S, S) in [0, 1] and its mask (1, S, S), read from their files each time."""

    def __init__(self, root: Path, names: tuple[str, ...], image_size: int, augment: bool) -> None:
        self.root = root
        self.names = names
        self.size = (image_size, image_size)
        self.augment = augment

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        name = self.names[index]
        image = Image.open(self.root / "images" / f"{name}.jpg").convert("RGB").resize(self.size)
        trimap = Image.open(self.root / "annotations" / "trimaps" / f"{name}.png").resize(
            self.size, Image.Resampling.NEAREST
        )
        mask = trimap.point(lambda code: 0 if code == 2 else 255)
        if self.augment:
            angle = random.uniform(-DEGREES, DEGREES)  # noqa: S311
            image = transforms.rotate(image, angle, InterpolationMode.NEAREST)
            mask = transforms.rotate(mask, angle, InterpolationMode.NEAREST)
            if random.random() < 0.5:  # noqa: S311
                image, mask = transforms.hflip(image), transforms.hflip(mask)
        return transforms.to_tensor(image), transforms.to_tensor(mask)


def make_loader(work: Work, names: tuple[str, ...], augment: bool) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of single items, pinned for a GPU, the last smaller one kept."""
    return DataLoader(
        PetDataset(Path(work.root), names, work.image_size, augment),
        batch_size=work.batch_size,
        shuffle=augment,
        num_workers=work.workers,
        pin_memory=work.torch_device.type == "cuda",
    )


def train(work: Work) -> Outcome:
    """Train and validate epoch by epoch."""
    random.seed(SEED)
    torch.manual_seed(SEED)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    device = work.torch_device
    half = device.type == "cuda"
    outcome = Outcome("float16" if half else "float32", images=len(work.train))
    model = MODELS[work.model](in_channels=3, out_channels=1).to(device)
    loss_function = BCEDiceLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=work.learning_rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, work.epochs + 1, eta_min=1e-5)
    scaler = torch.amp.GradScaler(device.type, enabled=half)
    batches = Timed(make_loader(work, work.train, augment=True))
    validation = make_loader(work, work.validation, augment=False)
    outcome.start = seconds_since_start()
    for _ in range(work.epochs + 1):
        start = time.perf_counter()
        model.train()
        total = 0.0
        for images, masks in batches:
            images, masks = images.to(device), masks.to(device)
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.float16, enabled=half):
                loss = loss_function(model(images), masks)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            total += loss.item()
        synchronise(device)
        outcome.training.append(time.perf_counter() - start)
        outcome.waiting.append(batches.take())
        outcome.losses.append(total / len(batches))
        start = time.perf_counter()
        validate(model, validation, device, half)
        outcome.evaluation.append(time.perf_counter() - start)
        scheduler.step()
    return outcome


def validate(model: nn.Module, batches: DataLoader[tuple[Tensor, Tensor]], device: torch.device, half: bool) -> float:
    """The report's validation Dice: soft, over a batch, mean over batches."""
    model.eval()
    total = 0.0
    with torch.no_grad():
        for images, masks in batches:
            images, masks = images.to(device), masks.to(device)
            with torch.autocast(device.type, torch.float16, enabled=half):
                probabilities = torch.sigmoid(model(images))
            overlap = (probabilities * masks).sum()
            total += ((2 * overlap + SMOOTH) / (probabilities.sum() + masks.sum() + SMOOTH)).item()
    return total / len(batches)


if __name__ == "__main__":
    contend(train)
