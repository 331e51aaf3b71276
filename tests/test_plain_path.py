"""What makes a training fast does not change what it computes: losses and weights are those of a plain float32 loop.

Each way of the suite, put together by the worker's own `build_trainer`, is held against one and the same loop: float32
on a CPU, PyTorch's own memory layout, an optimizer that is a loop over parameters, each loss read at once.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segcore import build
from segcore.ablation import read_preset
from segcore.compilation import find_compiler
from segcore.config import Layer, Problems, RunConfig, resolve
from segcore.data import Part, PreparedData, pack
from segcore.execution.folder import RunFolder
from segcore.execution.keeping import Keeper
from segcore.execution.stopping import Stop
from segcore.execution.worker import build_trainer
from segcore.losses import BCEDiceLoss
from segcore.models import MODELS
from segcore.models.unet import UNet

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PLANES, CHANNELS_LAST = torch.contiguous_format, torch.channels_last
EPOCHS = 2
STEP = {"trainer.precision": "float32", "trainer.compile": False}
SGD = STEP | {"optimizer.name": "sgd", "optimizer.lr": 0.03, "optimizer.weight_decay": 1e-4}
ADAMW = STEP | {"optimizer.name": "adamw", "optimizer.lr": 1e-3}
BFLOAT16 = {"trainer.precision": "bfloat16"}
FLOAT16 = {"trainer.precision": "float16"}
SMALL = SGD | {"optimizer.lr": 0.3}
CLIP = {"trainer.clip_norm": 0.05}


@dataclass(frozen=True)
class Way:
    """A way to train, and how near it has to come to the plain loop.

    loss: the largest relative difference of an epoch's loss.  weights: the largest distance between the ends of the two
    trainings, in units of the plain one's way from start to end; None where they cannot be compared.
    layout: what the suite has to choose, or is made to where it is forced.
    """

    loss: float
    weights: float | None
    settings: dict[str, Any] = field(default_factory=lambda: SGD)
    layout: torch.memory_format = CHANNELS_LAST
    is_forced: bool = False
    model: str = "resnet34_unet"
    is_small: bool = False
    device: torch.device = CPU


# At least three times what was measured on two cores of an AMD EPYC (Zen 3).  A rate that is 2 % too large moves the
# weights by 0.02, ResNet34-U-Net's losses by 1e-4 and those of the others by 1e-3; AdamW's by 1e-3, too.
WAYS = {
    "float32": Way(1e-5, 0.01, layout=PLANES),
    "float32, unet": Way(1e-5, 0.01, layout=PLANES, model="unet"),
    # The same sums in another order: rounding to 24 bits, which batch norm over few values makes larger.
    "channels last": Way(1e-5, 0.01, is_forced=True),
    "channels last, unet": Way(1e-5, 0.01, is_forced=True, model="unet"),
    # AdamW's first steps divide a gradient by its own size.  Where that is rounding alone, so is the step: the weights
    # of two equal trainings part, and those that do matter little to the losses.
    "AdamW": Way(3e-4, None, ADAMW, layout=PLANES),
    "AdamW, channels last": Way(5e-4, None, ADAMW, is_forced=True),
    "clipped": Way(1e-5, 0.01, SGD | CLIP, layout=PLANES),
    # 8 bits: each number is off by up to 2^-9 = 0.002, a gradient by several of these, after forty layers by 0.1.  In
    # the loss, a mean over 4096 pixels an image, they cancel.
    "bfloat16": Way(1e-4, 0.3, SGD | BFLOAT16),
    "bfloat16, small": Way(1e-3, 0.05, SMALL | BFLOAT16, model="unet", is_small=True),
    # 11 bits, and a scaler that divides out what it multiplied.  The suite leaves it to GPUs; the loop is the same.
    "float16": Way(2e-4, 0.02, SMALL | FLOAT16, model="unet", is_small=True),
    "float16, clipped": Way(2e-4, 0.02, SMALL | FLOAT16 | CLIP, model="unet", is_small=True),
    "compiled": Way(1e-5, 0.001, SMALL | {"trainer.compile": True}, layout=PLANES, model="unet", is_small=True),
    # Measured without a GPU, where float16 gave 2e-5 and 0.04.  The plain loop stays on the CPU, which knows no TF32.
    "float16 on CUDA": Way(2e-4, 0.15, SGD | FLOAT16, device=CUDA),
}
NEEDS = {
    "compiled": [
        pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler"),
        pytest.mark.filterwarnings("default"),  # the compiler's own
    ],
    "float16 on CUDA": [pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
}


@dataclass(frozen=True)
class Trained:
    """What became of a training: the loss of each epoch, and all weights in one row, before and after."""

    losses: list[float]
    start: Tensor
    end: Tensor


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make_config(way: Way) -> RunConfig:
    """A short training on small images."""
    size = 64 if way.model == "resnet34_unet" else 32
    settings = {"model.name": way.model, "data.image_size": size, "data.batch_size": 8, "trainer.epochs": EPOCHS}
    config = resolve([read_preset("base")[0], Layer("test", settings | way.settings)], 42, Problems())
    assert config is not None
    return config


def make_data(config: RunConfig) -> PreparedData:
    """Twelve images of coloured squares, the red ones of which are pet.

    The last batch has four: of two, of which the deepest layer sees a pixel each, batch norm leaves rounding alone.
    """
    side = config.data.image_size // 8
    images = np.random.default_rng(0).integers(0, 256, (12, side, side, 3), dtype=np.uint8)
    images = images.repeat(8, axis=1).repeat(8, axis=2)
    pixels = pack(images, np.where(images[..., 0] > 127, 1, 2).astype(np.uint8))
    part = Part(tuple("abcdefghijkl"), (None,) * 12, pixels)
    few = Part(part.names[:4], part.breeds[:4], pixels[:4])
    return PreparedData("squares", "fingerprint", part, few, few, ())


def weights_of(model: nn.Module) -> Tensor:
    """A copy of all weights in one row, on the CPU."""
    return torch.cat([parameter.detach().cpu().flatten() for parameter in model.parameters()])


def train_plain(config: RunConfig, device: torch.device) -> Trained:
    """The plain loop, on the batches that the suite's loader makes on the device."""
    model = build.build_model(config, CPU).to(memory_format=PLANES)  # type: ignore[call-overload]
    start = weights_of(model)
    optimizer = plain_optimizer(config, model)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS, eta_min=1e-5)
    loss_function, loader, means = BCEDiceLoss(), build.build_train_loader(config, make_data(config).train, device), []
    for epoch in range(1, EPOCHS + 1):
        losses = []
        for batch in loader.epoch(epoch):
            optimizer.zero_grad(set_to_none=False)
            loss = loss_function(model(batch.images_N3HW.cpu().contiguous()), batch.masks_N1HW.cpu())
            loss.backward()
            if config.trainer.clip_norm is not None:
                clip(model, config.trainer.clip_norm)
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
        means.append(sum(losses) / len(losses))
    return Trained(means, start, weights_of(model))


def plain_optimizer(config: RunConfig, model: nn.Module) -> torch.optim.Optimizer:
    """PyTorch's own, a parameter at a time."""
    settings: dict[str, Any] = {"lr": config.optimizer.lr, "weight_decay": config.optimizer.weight_decay}
    if config.optimizer.name == "adamw":
        return torch.optim.AdamW(model.parameters(), foreach=False, fused=False, **settings)
    return torch.optim.SGD(model.parameters(), momentum=0.9, foreach=False, fused=False, **settings)


def clip(model: nn.Module, largest: float) -> None:
    """Shrink all gradients together to a norm; the test would show nothing if they were no longer than that."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = sum((gradient**2).sum() for gradient in gradients) ** 0.5
    assert norm > 2 * largest
    for gradient in gradients:
        gradient *= largest / norm


def train_fast(config: RunConfig, way: Way, folder: Path) -> Trained:
    """The suite's way, once it was seen to be the one that is meant."""
    data, model = make_data(config), build.build_model(config, way.device)
    start = weights_of(model)
    keeper = Keeper(RunFolder(folder), config.execution.checkpoint_seconds, Stop())
    trainer = build_trainer(config, data, model, way.device, keeper)
    types = set()
    trainer.loss.register_forward_pre_hook(lambda module, arguments: types.add(arguments[0].dtype))
    losses = [record.metrics["train/loss"] for record in trainer.fit()]
    assert types == {getattr(torch, config.trainer.precision)}
    kernels = [parameter for parameter in model.parameters() if parameter.dim() == 4]
    images = next(iter(trainer.data.epoch(1))).images_N3HW
    assert all(tensor.is_contiguous(memory_format=way.layout) for tensor in [images, *kernels])
    assert (trainer.forward is not model) == (config.trainer.compile is True)
    assert trainer.scaler.get_scale() in (1, 2**16)  # it left no step out
    return Trained(losses, start, weights_of(model))


@pytest.mark.parametrize("name", [pytest.param(name, marks=NEEDS.get(name, ())) for name in WAYS])
def test_the_training_is_that_of_a_plain_loop(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    way = WAYS[name]
    if way.is_forced:
        monkeypatch.setattr(build, "training_layout", lambda config, device: way.layout)
    if way.is_small:
        monkeypatch.setitem(MODELS, "unet", partial(UNet, widths=(8,)))
    config = make_config(way)
    fast, plain = train_fast(config, way, tmp_path), train_plain(config, way.device)
    assert torch.equal(fast.start, plain.start)
    assert plain.losses[0] > plain.losses[-1]  # it learns something
    difference = ((fast.end - plain.end).norm() / (plain.end - plain.start).norm()).item()
    assert fast.losses == pytest.approx(plain.losses, rel=way.loss)
    if way.weights is not None:
        assert difference < way.weights
