"""One run from start to end, in a process of its own: `python -m segcore.execution.worker runs/FINGERPRINT whole`.

It reads the folder's settings, trains, evaluates, and writes everything that becomes of it into the folder; where an
earlier process was cut short, it goes on from there.  Its last part needs no device and no data, and can be left to a
second process, which works beside the next run's training.
"""

import contextlib
import faulthandler
import json
import logging
import random
import resource
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from segcore import build
from segcore.checkpoint import save_checkpoint
from segcore.compilation import clear_compiled
from segcore.config import RunConfig
from segcore.credentials import without_credentials
from segcore.data import PreparedData
from segcore.errors import UserError
from segcore.evaluation import compute_validation_metrics, evaluate
from segcore.execution.allocator import give_memory_back, keeps_memory
from segcore.execution.attempts import find_trained
from segcore.execution.claims import is_taken_over
from segcore.execution.failures import describe_failure
from segcore.execution.folder import RunFolder
from segcore.execution.keeping import DamagedWeightsError, Heartbeat, Keeper, find_best_weights
from segcore.execution.memory import estimate_memory_gib, free_memory_gib
from segcore.execution.parts import note_part, write_environment
from segcore.execution.sampling import SystemSampling
from segcore.execution.stage import Stage
from segcore.execution.stopping import TRACE_SIGNAL, Stop, watch_owner
from segcore.execution.totals import training_metrics
from segcore.randomness import derive_seed
from segcore.trainer import AUTOCAST_TYPES, DivergedError, EpochRecord, Trainer
from segcore.training_state import remove_states

log = logging.getLogger("worker")


def main(folder: RunFolder, stage: Stage = Stage.whole) -> int:
    """Compute the run and note its end in the folder; exit status 0 when the stage succeeded.

    After the training alone the run is still in the state `running`.
    """
    # Forced, because libraries that are imported by now have set up the root logger for themselves.
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stdout, force=True
    )  # fmt: skip
    leave_traces()
    stop = Stop()
    signal.signal(signal.SIGTERM, stop.handle)
    try:
        folder.set_state("running")
        watch_owner(stop, partial(is_taken_over, folder))
        if stage != Stage.end:
            compute(folder, stop)
        if stage != Stage.training:
            export(folder)
    except KeyboardInterrupt:
        is_trained = bool(folder.read("training"))
        folder.set_state("interrupted", stop.reason + (", after its training, which is kept" if is_trained else ""))
    except DivergedError as error:
        log.error("%s", error)
        folder.set_state("diverged", str(error))
        remove_states(folder.states)
    except Exception as error:
        log.exception("the run failed")
        reason, try_again = describe_failure(error)
        folder.set_state("failed", reason, try_again=try_again)
    else:
        if stage != Stage.training:
            folder.set_state("finished")
            remove_states(folder.states)
        return 0
    return 1


def leave_traces() -> None:
    """Have the log tell where the process was when it crashes, or is asked because it hangs; no core dump."""
    faulthandler.enable(file=2)
    faulthandler.register(TRACE_SIGNAL, file=2)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def compute(folder: RunFolder, stop: Stop) -> None:
    """Prepare, train or take over a training, evaluate, report; what an earlier process has done of it stays."""
    if folder.read("results") and find_best_weights(folder) is not None:
        return
    config = folder.config()
    device, threads = build.resolve_device(config), build.resolve_threads(config)
    set_up(config, device, threads)
    write_environment(folder, device, threads)
    beat = Heartbeat(folder)
    data = build.build_data(config, build.build_index(config), lambda done, total: beat())
    write_data(folder, data, config.data.root)
    if folder.read("training") and find_best_weights(folder) is None:
        forget_training(folder)
    if not folder.read("training"):
        obtain_training(folder, config, data, device, stop)
    report(folder, config, data, device)


def forget_training(folder: RunFolder) -> None:
    """Its best weights are lost: nothing may say any more that it is done, or go on with it."""
    for name in ("results.json", "training.json"):
        (folder.path / name).unlink(missing_ok=True)
    remove_states(folder.states)


def obtain_training(folder: RunFolder, config: RunConfig, data: PreparedData, device: torch.device, stop: Stop) -> None:
    """Train, or take the same training of another run over."""
    donor = find_trained(folder)
    if donor is None:
        try:
            with SystemSampling(folder):
                train(folder, config, data, build.build_model(config, device), device, stop)
        finally:
            clear_compiled()
    else:
        log.info("the training is that of %s: only the evaluation differs", donor.path.name)
        note_part(folder, donor, folder.read("environment"))
        for name in ("epochs.jsonl", "best.safetensors", "training.json"):  # the last one says that all are there
            shutil.copy2(donor.path / name, folder.path / name)


def report(folder: RunFolder, config: RunConfig, data: PreparedData, device: torch.device) -> None:
    """Test the best weights, and write tables and pictures."""
    # Imported late: its libraries take a second, which the nursery spends beside the first training.
    from segcore.execution.reporting import report_results

    report_results(folder, config, data, device)


def export(folder: RunFolder) -> None:
    """Write the best weights as an MLflow model."""
    from segcore.execution.reporting import export_model

    torch.set_num_threads(build.resolve_threads(folder.config()))
    try:
        export_model(folder)
    except UserError as error:
        if find_best_weights(folder) is None:
            raise DamagedWeightsError(f"{error}; the training begins anew") from None
        raise


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
    config: RunConfig, data: PreparedData, model: nn.Module, device: torch.device, keeper: Keeper
) -> Trainer:
    """The trainer with everything that it receives; the keeper is at work between its steps and validation batches."""
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
            keeper.watch(validation_loader),
            thresholds=(0.5,),
            device=device,
            autocast=autocast,
            loss=loss,
            loss_batch=batch_size,
        )
        return compute_validation_metrics(evaluation, batch_size)

    keeper.trainer = Trainer(
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
        on_step=keeper.on_step,
        forward=build.build_forward(config, model, device, train_loader.num_images),
    )
    return keeper.trainer


def train(
    folder: RunFolder, config: RunConfig, data: PreparedData, model: nn.Module, device: torch.device, stop: Stop
) -> None:
    """Train to the end, a line an epoch, and keep the best epoch's weights; from where the last state was kept."""
    keeper = Keeper(folder, config.execution.checkpoint_seconds, stop)
    trainer = build_trainer(config, data, model, device, keeper)
    keeper.resume()
    with stop.between_steps():
        try:
            for record in trainer.fit():
                if record.is_best and record.epoch not in keeper.settled:
                    save_best(folder, config, data, model, record)
                keeper.note(record)
                shown = ", ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
                log.info("epoch %d of %d: %s", record.epoch, config.trainer.epochs, shown)
        except KeyboardInterrupt:
            if keeper.save():
                steps = f"{trainer.step} step{'s' * (trainer.step != 1)}"
                stop.reason += f", saved in epoch {trainer.epoch} after {steps}"
            else:
                stop.reason += ", and could not be saved: its log says why"
            raise
        folder.write("training", training_metrics(folder, config, keeper.peak_memory_gib))
    remove_states(folder.states)


def save_best(folder: RunFolder, config: RunConfig, data: PreparedData, model: nn.Module, record: EpochRecord) -> None:
    """The weights, with what is needed to use them without the run's folder."""
    metadata = {
        "settings": json.loads(without_credentials(config.model_dump_json())),
        "epoch": record.epoch,
        "val/dice_per_image": record.metrics["val/dice_per_image"],
        "metrics": record.metrics,
        "data_fingerprint": data.fingerprint,
    }
    save_checkpoint(folder.checkpoint, model, metadata)


if __name__ == "__main__":
    sys.exit(main(RunFolder(Path(sys.argv[1])), Stage(sys.argv[2])))
