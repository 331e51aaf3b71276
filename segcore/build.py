"""The only place where settings meet classes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from segcore.checkpoint import read_checkpoint
from segcore.compilation import Network, compile_network, find_compiler, pays, require_compiler
from segcore.config import RunConfig
from segcore.data import (
    DataIndex,
    EvaluationLoader,
    Part,
    PreparedData,
    TrainLoader,
    find_data,
    prepare_data,
)
from segcore.errors import UserError
from segcore.losses import LOSSES
from segcore.models import MODELS, count_gflops
from segcore.optim import OPTIMIZERS, SCHEDULERS, with_warmup
from segcore.randomness import derive_seed
from segcore.stored_settings import parse_stored

# Pixels of an evaluation step.  A CPU is no faster with more, and needs the memory; a GPU is busy with so many.
EVALUATION_PIXELS = {"cpu": 8 * 256 * 256, "cuda": 128 * 256 * 256}
# Where training needs small batches for the memory, evaluation has to do with this many times as much.
MOST_TIMES_THE_BATCH = 4


def resolve_device(config: RunConfig) -> torch.device:
    """The device that the setting means on this machine.  Raises UserError where it has none such."""
    name = config.execution.device
    available = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= available:
        raise UserError(
            f"execution.device = {name}: this machine has {available or 'no'} CUDA devices; use auto or cpu"
        )
    return device


def resolve_threads(config: RunConfig) -> int:
    """CPU threads of one run."""
    threads = config.execution.threads
    return threads if isinstance(threads, int) else count_cores()


def count_cores() -> int:
    """The cores that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_precision(config: RunConfig, device: torch.device) -> str:
    """float32, float16 or bfloat16: the setting, or what `auto` means on the device."""
    if config.trainer.precision != "auto":
        return config.trainer.precision
    if device.type == "cuda":
        return "float16"
    return "bfloat16" if has_native_bfloat16() else "float32"


def has_native_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices natively (AMX); else bfloat16 is slower than float32 there."""
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    if "AMX" not in allowed and allowed not in ("DEFAULT", "ALL"):
        return False
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "amx_bf16" in cpuinfo.read_text()


def resolve_evaluation_batch(config: RunConfig, device: torch.device) -> int:
    """Images of an evaluation step: the setting, or what `auto` means at this image size on the device."""
    if config.evaluation.batch_size != "auto":
        return config.evaluation.batch_size
    most = MOST_TIMES_THE_BATCH * config.data.batch_size
    return min(most, max(1, EVALUATION_PIXELS[device.type] // config.data.image_size**2))


def why_unavailable(config: RunConfig, device: torch.device) -> str | None:
    """Why this machine cannot compute the run, or None where it can."""
    if config.trainer.precision == "float16" and device.type != "cuda":
        return "float16 needs a CUDA device, and this run would be on the CPU"
    return None


def build_index(config: RunConfig) -> DataIndex:
    """The dataset's items, split and content; unpacked, generated or downloaded first where it has to be."""
    data = config.data
    return find_data(
        root=Path(data.root),
        format=data.format,
        download=data.download,
        synthetic_images=data.synthetic_images,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        split_seed=data.split_seed,
        cache_dir=Path(data.cache_dir),
    )


def build_data(config: RunConfig, index: DataIndex, progress: Any = None, *, verify: bool = False) -> PreparedData:
    """The decoded dataset, from the cache or made now; progress(done, total) is called while it is made.

    verify: whether the cache is held against its checksum.
    """
    return prepare_data(
        index,
        image_size=config.data.image_size,
        max_skipped_fraction=config.data.max_skipped_fraction,
        cache_dir=Path(config.data.cache_dir),
        verify=verify,
        progress=progress,
    )


def training_layout(config: RunConfig, device: torch.device) -> torch.memory_format:
    """The memory layout of a training: channels last, but not for float32 on a CPU, which is slower in it."""
    in_planes = device.type == "cpu" and resolve_precision(config, device) == "float32"
    return torch.contiguous_format if in_planes else torch.channels_last


def build_train_loader(config: RunConfig, part: Part, device: torch.device) -> TrainLoader:
    """Shuffled, augmented batches; order and augmentation depend on the run's seed and the epoch alone."""
    return TrainLoader(
        part,
        batch_size=config.data.batch_size,
        device=device,
        seed=config.seed,
        rotation_degrees=config.augmentation.rotation_degrees,
        flip_probability=config.augmentation.flip_probability,
        border=config.data.border,
        layout=training_layout(config, device),
    )


def build_evaluation_loader(config: RunConfig, part: Part, device: torch.device) -> EvaluationLoader:
    """Batches in file order, of the evaluation's own size."""
    batch_size = resolve_evaluation_batch(config, device)
    return EvaluationLoader(part, batch_size=batch_size, device=device, border=config.data.border)


def build_model(config: RunConfig, device: torch.device) -> nn.Module:
    """The network with weights that depend on the run's seed alone, on the device and in the layout of training."""
    with torch.random.fork_rng(devices=[]):
        # torch's layers initialise themselves from the global generator, and take no other.
        torch.manual_seed(derive_seed(config.seed, "weights"))
        model = MODELS[config.model.name](in_channels=3, out_channels=1)
    return on_device(model, device, training_layout(config, device))


def on_device(model: nn.Module, device: torch.device, layout: torch.memory_format) -> nn.Module:
    """The network on the device, the weights of its convolutions in a memory layout."""
    return model.to(device, memory_format=layout)  # type: ignore[call-overload,no-any-return]


def resolve_compile(config: RunConfig, device: torch.device, num_images: int) -> bool:
    """Whether the network is compiled: the setting, or what `auto` means for a training on so many images.

    Raises UserError where it has to be and cannot.
    """
    if config.trainer.compile == "auto":
        gflops = count_gflops(config.model.name, config.data.image_size)
        return pays(gflops, num_images, config.trainer.epochs, device) and find_compiler() is not None
    if config.trainer.compile:
        require_compiler()
    return config.trainer.compile


def build_forward(config: RunConfig, model: nn.Module, device: torch.device, num_images: int) -> Network:
    """What a training step calls: the network, or the same compiled for full batches."""
    is_compiled = resolve_compile(config, device, num_images)
    return compile_network(model, config.data.batch_size) if is_compiled else model


def build_loss(config: RunConfig) -> nn.Module:
    """The training objective."""
    return LOSSES[config.loss.name]()


def build_optimizer(config: RunConfig, model: nn.Module) -> Optimizer:
    """The optimizer of all parameters."""
    settings = config.optimizer
    make = OPTIMIZERS[settings.name]
    return make(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, momentum=settings.momentum)


def build_scheduler(config: RunConfig, optimizer: Optimizer) -> LRScheduler:
    """The learning-rate schedule, stepped once an epoch."""
    settings = config.scheduler
    return with_warmup(
        optimizer,
        SCHEDULERS[settings.name],
        warmup_epochs=settings.warmup_epochs,
        epochs=config.trainer.epochs,
        eta_min=settings.eta_min,
        gamma=settings.gamma,
    )


def load_model(path: Path, device: torch.device) -> tuple[nn.Module, RunConfig, dict[str, Any]]:
    """The network of a checkpoint file in evaluation mode, the settings that it was trained with, and the metadata.

    Its weights are channels last.
    The metadata tells `epoch`, `val/dice_per_image` and, once a run is finished, `threshold`.
    Raises UserError where the file is missing, damaged, or does not fit the network that it names.
    """
    tensors, metadata = read_checkpoint(path)
    try:
        config = parse_stored(metadata["settings"])
        with torch.device("meta"):  # makes no weights of its own
            model = MODELS[config.model.name](in_channels=3, out_channels=1)
        check_weights(tensors, model.state_dict())
        model.load_state_dict(tensors, assign=True)
    except (ValidationError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: does not fit this version of the suite: {error}") from None
    threshold = metadata.get("threshold", 0.5)
    if not isinstance(threshold, float) or not 0 < threshold < 1:
        raise UserError(f"{path}: threshold = {threshold!r} must be a number between 0 and 1; the file is damaged")
    return on_device(model, device, torch.channels_last).eval(), config, metadata


def check_weights(tensors: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError for weights of another type than the network's, and for weights that are no numbers."""
    for name, tensor in tensors.items():
        if name in wanted and tensor.dtype != wanted[name].dtype:
            raise ValueError(f"{name} is of type {tensor.dtype}, not {wanted[name].dtype}")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds values that are no numbers or infinite")
