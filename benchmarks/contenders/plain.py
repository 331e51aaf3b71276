"""A script of one's own around the suite's trainer: trains, keeps the best weights, tests; no runner, no tracking.

`python -m benchmarks.contenders.plain SETTINGS RESULT`, a run's settings.yaml and the file for what it measured.  With
`--complete` it also writes what a run leaves of its results: tables, pictures and the MLflow model.

It computes what `segcore.execution.worker` computes, but does not import it: that alone imports MLflow.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import torch
import yaml

from benchmarks.contest import seconds_since_start
from segcore import build
from segcore.checkpoint import save_checkpoint
from segcore.config import RunConfig
from segcore.data import PreparedData
from segcore.evaluation import Evaluation, compute_test_metrics, compute_validation_metrics, evaluate
from segcore.execution.folder import RunFolder
from segcore.metrics import THRESHOLDS, choose_threshold
from segcore.trainer import AUTOCAST_TYPES, Trainer


def build_trainer(config: RunConfig, data: PreparedData, device: torch.device) -> Trainer:
    """The trainer that a worker builds, without its heartbeat."""
    model, loss = build.build_model(config, device), build.build_loss(config)
    optimizer = build.build_optimizer(config, model)
    batches = build.build_train_loader(config, data.train, device)
    validation = build.build_evaluation_loader(config, data.validation, device)
    precision = build.resolve_precision(config, device)
    autocast = None if precision == "float32" else AUTOCAST_TYPES[precision]
    group = config.data.batch_size

    def validate(model: torch.nn.Module) -> dict[str, float]:
        evaluation = evaluate(
            model, validation, thresholds=(0.5,), device=device, autocast=autocast, loss=loss, loss_batch=group
        )
        return compute_validation_metrics(evaluation, group)

    return Trainer(
        model=model,
        loss=loss,
        optimizer=optimizer,
        scheduler=build.build_scheduler(config, optimizer),
        data=batches,
        validate=validate,
        epochs=config.trainer.epochs,
        device=device,
        precision=precision,
        clip_norm=config.trainer.clip_norm,
        forward=build.build_forward(config, model, device, batches.num_images),
    )


def run(settings: Path, result: Path, complete: bool) -> None:
    """Train, test, and write the test Dice and the seconds until the training began and that it took."""
    config = RunConfig.model_validate(yaml.safe_load(settings.read_text()))
    device = build.resolve_device(config)
    torch.set_num_threads(build.resolve_threads(config))
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    data = build.build_data(config, build.build_index(config))
    trainer = build_trainer(config, data, device)
    begun, start = seconds_since_start(), time.perf_counter()
    checkpoint = result.with_suffix(".safetensors")
    for record in trainer.fit():
        if record.is_best:
            save_checkpoint(checkpoint, trainer.model, {"settings": config.model_dump(), "epoch": record.epoch})
    trained = time.perf_counter() - start
    model, _, _ = build.load_model(checkpoint, device)
    validation = build.build_evaluation_loader(config, data.validation, device)
    counted = evaluate(model, validation, thresholds=THRESHOLDS, device=device)
    threshold = choose_threshold(counted.counts, counted.thresholds)
    test = evaluate(
        model, build.build_evaluation_loader(config, data.test, device), thresholds=THRESHOLDS, device=device
    )
    dice = compute_test_metrics(test, threshold, config.data.batch_size)["test/dice_per_image"]
    result.write_text(json.dumps({"dice": dice, "begun": begun, "trained": trained}))
    if complete:
        write_all(RunFolder(result.parent / "script"), settings, checkpoint, counted, test, data, threshold)


def write_all(
    folder: RunFolder,
    settings: Path,
    checkpoint: Path,
    validation: Evaluation,
    test: Evaluation,
    data: PreparedData,
    threshold: float,
) -> None:
    """Tables, pictures and the MLflow model, by the suite's own functions."""
    # Imported here: the script without them does not pay for their libraries.
    from segcore.execution.reporting import export_model, write_pictures, write_tables

    shutil.rmtree(folder.path, ignore_errors=True)
    folder.artifacts.mkdir(parents=True)
    for source, name in ((settings, "settings.yaml"), (settings.parent / "epochs.jsonl", "epochs.jsonl")):
        shutil.copy2(source, folder.path / name)
    shutil.copy2(checkpoint, folder.checkpoint)
    config = folder.config()
    device = build.resolve_device(config)
    model, _, _ = build.load_model(checkpoint, device)
    write_tables(folder, validation, test, data.test, threshold)
    write_pictures(folder, config, model, data.test, test, threshold, device)
    export_model(folder)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contenders.plain", description=__doc__.splitlines()[0])
    parser.add_argument("settings", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--complete", action="store_true")
    run(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
