"""One run from start to end, in a process of its own: `python -m segcore.execution.worker runs/FINGERPRINT whole`.

It reads the folder's settings, trains, evaluates, and writes everything that becomes of it into the folder.  Its last
part needs no device and no data, and can be left to a second process, which works beside the next run's training.
"""

import logging
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from torch import nn

from segcore import build
from segcore.checkpoint import save_checkpoint
from segcore.config import RunConfig
from segcore.data import PreparedData
from segcore.errors import UserError
from segcore.evaluation import compute_validation_metrics, evaluate
from segcore.execution.allocator import give_memory_back, keeps_memory
from segcore.execution.environment import describe_environment, git_diff, installed_packages
from segcore.execution.folder import RunFolder, find_trained
from segcore.execution.memory import estimate_memory_gib, free_memory_gib
from segcore.execution.sampling import SystemSampling
from segcore.execution.stage import Stage
from segcore.execution.totals import training_metrics
from segcore.randomness import derive_seed
from segcore.trainer import AUTOCAST_TYPES, DivergedError, EpochRecord, Trainer

log = logging.getLogger("worker")


def main(folder: RunFolder, stage: Stage = Stage.whole) -> int:
    """Compute the run and note its end in the folder; exit status 0 when the stage succeeded.

    After the training alone the run is still in the state `running`.
    """
    # Forced, because libraries that are imported by now have set up the root logger for themselves.
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stdout, force=True
    )  # fmt: skip
    signal.signal(signal.SIGTERM, raise_interrupt)
    folder.set_state("running")
    try:
        if stage != Stage.end:
            compute(folder)
        if stage != Stage.training:
            export(folder)
    except KeyboardInterrupt:
        folder.set_state("interrupted", "stopped by a signal")
    except DivergedError as error:
        log.error("%s", error)
        folder.set_state("diverged", str(error))
    except Exception as error:
        log.exception("the run failed")
        folder.set_state("failed", describe_failure(error))
    else:
        if stage != Stage.training:
            folder.set_state("finished")
        return 0
    return 1


def raise_interrupt(signum: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into the exception that Ctrl-C raises."""
    raise KeyboardInterrupt


def describe_failure(error: Exception) -> str:
    """The reason of a failure in one line."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "out of GPU memory: lower data.batch_size, evaluation.batch_size or data.image_size"
    return f"{type(error).__name__}: {error}".splitlines()[0]


def compute(folder: RunFolder) -> None:
    """Prepare, train or take over a training, evaluate, report."""
    config = folder.config()
    device, threads = build.resolve_device(config), build.resolve_threads(config)
    set_up(config, device, threads)
    write_environment(folder, device, threads)
    data = build.build_data(config, build.build_index(config))
    write_data(folder, data, config.data.root)
    model = build.build_model(config, device)
    donor = find_trained(folder)
    if donor is None:
        with SystemSampling(folder):
            train(folder, config, data, model, device)
    else:
        log.info("the training is that of %s: only the evaluation differs", donor.path.name)
        for name in ("epochs.jsonl", "best.safetensors", "training.json"):
            shutil.copy2(donor.path / name, folder.path / name)
    report(folder, config, data, device)


def report(folder: RunFolder, config: RunConfig, data: PreparedData, device: torch.device) -> None:
    """Test the best weights, and write tables and pictures."""
    # Imported late: its libraries take a second, which the nursery spends beside the first training.
    from segcore.execution.reporting import report_results

    report_results(folder, config, data, device)


def export(folder: RunFolder) -> None:
    """Write the best weights as an MLflow model."""
    from segcore.execution.reporting import export_model

    torch.set_num_threads(build.resolve_threads(folder.config()))
    export_model(folder)


def set_up(config: RunConfig, device: torch.device, threads: int) -> None:
    """Memory, threads, deterministic algorithms, and the global generators, which nothing of ours draws from."""
    save_memory(config, device)
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    random.seed(config.seed)
    np.random.seed(derive_seed(config.seed, "numpy") % 2**32)  # noqa: NPY002 - for libraries that use it
    torch.manual_seed(derive_seed(config.seed, "torch"))


def save_memory(config: RunConfig, device: torch.device) -> None:
    """Have the allocator give freed memory back where keeping it would take more than is free."""
    if device.type != "cpu" or not keeps_memory():
        return
    needed, free = estimate_memory_gib(config, build.resolve_precision(config, device), device), free_memory_gib(device)
    if needed > free:
        give_memory_back()
        log.info("memory: %.1f GiB are free, %.1f would be kept: freed memory is given back at once", free, needed)


def write_environment(folder: RunFolder, device: torch.device, threads: int) -> None:
    """Code, versions and machine, for tags and artifacts."""
    folder.write("environment", describe_environment(device, threads))
    (folder.artifacts / "requirements.txt").write_text(installed_packages())
    shutil.copy2(folder.path / "settings.yaml", folder.artifacts / "config.yaml")
    if diff := git_diff():
        (folder.artifacts / "git.diff").write_text(diff, encoding="utf-8")


def write_data(folder: RunFolder, data: PreparedData, root: str) -> None:
    """The dataset's name, content, sizes and skipped items."""
    for skipped in data.skipped:
        log.warning("skipped %s: %s", skipped.name, skipped.reason)
    sizes = {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}
    log.info("data: %s, %s, %d skipped", data.name, sizes, len(data.skipped))
    folder.write(
        "data",
        {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "root": root,
            "sizes": sizes,
            "skipped": [{"name": skipped.name, "reason": skipped.reason} for skipped in data.skipped],
        },
    )


def build_trainer(
    folder: RunFolder, config: RunConfig, data: PreparedData, model: nn.Module, device: torch.device
) -> Trainer:
    """The trainer with everything that it receives."""
    loss = build.build_loss(config)
    optimizer = build.build_optimizer(config, model)
    train_loader = build.build_train_loader(config, data.train, device)
    validation_loader = build.build_evaluation_loader(config, data.validation, device)
    precision = build.resolve_precision(config, device)
    autocast = None if precision == "float32" else AUTOCAST_TYPES[precision]
    batch_size = config.data.batch_size

    def validate(model: nn.Module) -> dict[str, float]:
        evaluation = evaluate(
            model,
            validation_loader,
            thresholds=(0.5,),
            device=device,
            autocast=autocast,
            loss=loss,
            loss_batch=batch_size,
        )
        return compute_validation_metrics(evaluation, batch_size)

    return Trainer(
        model=model,
        loss=loss,
        optimizer=optimizer,
        scheduler=build.build_scheduler(config, optimizer),
        data=train_loader,
        validate=validate,
        epochs=config.trainer.epochs,
        device=device,
        precision=precision,
        clip_norm=config.trainer.clip_norm,
        on_step=Heartbeat(folder, train_loader.num_batches),
        forward=build.build_forward(config, model, device, train_loader.num_images),
    )


class Heartbeat:
    """Tells through `progress.json`, at most once a second, where the training is."""

    def __init__(self, folder: RunFolder, num_steps: int) -> None:
        self.folder = folder
        self.num_steps = num_steps
        self.last = 0.0

    def __call__(self, epoch: int, step: int) -> None:
        """Called before each step."""
        now = time.time()
        if now - self.last >= 1:
            self.last = now
            self.folder.write("progress", {"epoch": epoch, "step": step, "steps": self.num_steps, "time": now})


def train(folder: RunFolder, config: RunConfig, data: PreparedData, model: nn.Module, device: torch.device) -> None:
    """Train to the end, a line an epoch, and keep the best epoch's weights."""
    trainer = build_trainer(folder, config, data, model, device)
    for record in trainer.fit():
        if record.is_best:
            save_best(folder, config, data, model, record)
        folder.append("epochs", {"epoch": record.epoch, "time": time.time(), "metrics": record.metrics})
        shown = ", ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
        log.info("epoch %d of %d: %s", record.epoch, config.trainer.epochs, shown)
    folder.write("training", training_metrics(folder, config, device))


def save_best(folder: RunFolder, config: RunConfig, data: PreparedData, model: nn.Module, record: EpochRecord) -> None:
    """The weights, with what is needed to use them without the run's folder."""
    metadata = {
        "settings": config.model_dump(),
        "epoch": record.epoch,
        "val/dice_per_image": record.metrics["val/dice_per_image"],
        "data_fingerprint": data.fingerprint,
    }
    save_checkpoint(folder.checkpoint, model, metadata)


if __name__ == "__main__":
    sys.exit(main(RunFolder(Path(sys.argv[1])), Stage(sys.argv[2])))
