"""Only the data way differs: pixels of four bytes, turned and mirrored a batch at a time, train to the same last bit as
float channels that are turned and then mirrored item by item."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from segcore import build
from segcore.ablation import read_preset
from segcore.config import Layer, Problems, RunConfig, resolve
from segcore.data import Batch, Border, Part
from segcore.data.augment import turning_grid
from segcore.randomness import generator
from segcore.trainer import Trainer, TrainingData

CPU = torch.device("cpu")
SEED, EPOCHS, DEGREES = 42, 2, 15
PET, BORDER = 1, 3
Turn = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make_config(folder: Path, border: Border = "pet", batch_size: int = 4) -> RunConfig:
    settings = {
        "data.format": "synthetic",
        "data.synthetic_images": 22,
        "data.root": str(folder),
        "data.cache_dir": str(folder),
        "data.image_size": 32,
        "data.batch_size": batch_size,
        "data.border": border,
        "augmentation.rotation_degrees": DEGREES,
        "augmentation.flip_probability": 0.5,
        "trainer.epochs": EPOCHS,
        "trainer.precision": "float32",
    }
    config = resolve([read_preset("base")[0], Layer("test", settings)], SEED, Problems())
    assert config is not None
    return config


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Part:
    """Eleven synthetic pets, as the cache maps them into memory."""
    config = make_config(tmp_path_factory.mktemp("data"))
    part = build.build_data(config, build.build_index(config)).train
    assert isinstance(part.pixels_NHW4, np.memmap)
    assert len(part) == 11 and np.unique(part.codes_NHW).tolist() == [1, 2, 3]
    return part


def turn(channels_CHW: Tensor, angle_1: Tensor) -> Tensor:
    """Turned counter-clockwise in the suite's arithmetic, which test_augment.py holds against torchvision's."""
    grid_1HW2 = turning_grid(angle_1, torch.tensor([False]), *channels_CHW.shape[1:])
    return grid_sample(channels_CHW[None], grid_1HW2, mode="nearest", padding_mode="zeros", align_corners=False)[0]


def turn_with_torchvision(channels_CHW: Tensor, angle_1: Tensor) -> Tensor:
    turned: Tensor = functional.rotate(channels_CHW, angle_1.item(), interpolation=InterpolationMode.NEAREST)
    return turned


@dataclass
class ItemByItem:
    """What the loader promises, written plainly: float channels first, then one item after the other."""

    part: Part
    border: Border
    batch_size: int
    turn: Turn

    @property
    def num_images(self) -> int:
        """All, but for one that would be alone in the last batch."""
        return len(self.part) - (len(self.part) % self.batch_size == 1)

    @property
    def num_batches(self) -> int:
        return math.ceil(self.num_images / self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        assert not start
        size = len(self.part)
        order = torch.randperm(size, generator=generator(SEED, "order", epoch)).tolist()
        augmentation = generator(SEED, "augmentation", epoch)
        angles = (2 * torch.rand(size, generator=augmentation, dtype=torch.float64) - 1) * DEGREES
        flips = (torch.rand(size, generator=augmentation) < 0.5).tolist()
        items = [self.item(*drawn) for drawn in zip(order, angles.split(1), flips, strict=True)]
        for first in range(0, self.num_images, self.batch_size):
            images, masks, borders = zip(*items[first : first + self.batch_size], strict=True)
            valid = torch.stack(borders) == 0 if self.border == "ignore" else None
            yield Batch(torch.stack(images), torch.stack(masks), valid)

    def item(self, row: int, angle: Tensor, is_flipped: bool) -> tuple[Tensor, ...]:
        """Red, green and blue in [0, 1]; 1 where it is pet; 1 where it is border."""
        image = torch.from_numpy(self.part.images_NHW3[row].copy()).permute(2, 0, 1).float() / 255
        code = torch.from_numpy(self.part.codes_NHW[row].copy())[None]
        pet = (code == PET) | (code == BORDER) if self.border == "pet" else code == PET
        channels = self.turn(torch.cat([image, pet.float(), (code == BORDER).float()]), angle)
        if is_flipped:
            channels = channels.flip(-1)
        return channels[:3], channels[3:4], channels[4:]


def train(config: RunConfig, data: TrainingData) -> tuple[list[float], list[Tensor]]:
    """The losses of all steps, and all weights at the end."""
    model = build.build_model(config, CPU)
    optimizer = build.build_optimizer(config, model)
    trainer = Trainer(
        model=model,
        loss=build.build_loss(config),
        optimizer=optimizer,
        scheduler=build.build_scheduler(config, optimizer),
        data=data,
        validate=lambda model: {"val/loss": 0.0, "val/dice_per_image": 0.0},
        epochs=EPOCHS,
        device=CPU,
    )
    losses: list[float] = []
    trainer.loss.register_forward_hook(lambda module, arguments, loss: losses.append(loss.item()))
    assert len(list(trainer.fit())) == EPOCHS
    return losses, list(model.state_dict().values())


@pytest.mark.parametrize(("border", "batch_size", "steps"), [("pet", 4, 3), ("background", 5, 2), ("ignore", 4, 3)])
def test_it_is_the_same_training_to_the_last_bit(
    part: Part, tmp_path: Path, border: Border, batch_size: int, steps: int
) -> None:
    config = make_config(tmp_path, border, batch_size)
    losses, weights = train(config, build.build_train_loader(config, part, CPU))
    plain_losses, plain_weights = train(config, ItemByItem(part, border, batch_size, turn))
    assert len(losses) == EPOCHS * steps
    assert losses == plain_losses
    assert all(map(torch.equal, weights, plain_weights))


def test_with_torchvisions_rotation_the_batches_are_the_same(part: Part, tmp_path: Path) -> None:
    fast = build.build_train_loader(make_config(tmp_path), part, CPU).epoch(1)
    for batch, plain in zip(fast, ItemByItem(part, "pet", 4, turn_with_torchvision).epoch(1), strict=True):
        # Its sums may round otherwise, so that a pixel halfway between two comes from the other.
        assert (batch.images_N3HW == plain.images_N3HW).double().mean() > 0.999
        assert (batch.masks_N1HW == plain.masks_N1HW).double().mean() > 0.999
