"""A script of one's own around the suite's trainer: trains, keeps the best weights, tests; no runner, no tracking.

`python -m benchmarks.contenders.plain SETTINGS RESULT`, a run's settings.yaml and the file for what it measured.
"""

import json
import sys
import time
from pathlib import Path

import yaml

from benchmarks.contest import seconds_since_start
from segcore import build
from segcore.checkpoint import save_checkpoint
from segcore.config import RunConfig
from segcore.evaluation import compute_test_metrics, compute_validation_metrics, evaluate
from segcore.metrics import THRESHOLDS, choose_threshold
from segcore.trainer import Trainer


def main(settings: Path, result: Path) -> None:
    """Train, test, and write the test Dice and the seconds until the training began and that it took."""
    config = RunConfig.model_validate(yaml.safe_load(settings.read_text()))
    device = build.resolve_device(config)
    data = build.build_data(config, build.build_index(config))
    model, loss = build.build_model(config, device), build.build_loss(config)
    optimizer = build.build_optimizer(config, model)
    validation = build.build_evaluation_loader(config, data.validation, device)
    batch_size = config.data.batch_size
    trainer = Trainer(
        model=model,
        loss=loss,
        optimizer=optimizer,
        scheduler=build.build_scheduler(config, optimizer),
        data=build.build_train_loader(config, data.train, device),
        validate=lambda model: compute_validation_metrics(
            evaluate(model, validation, thresholds=(0.5,), device=device, loss=loss, loss_batch=batch_size), batch_size
        ),
        epochs=config.trainer.epochs,
        device=device,
        precision=build.resolve_precision(config, device),
        clip_norm=config.trainer.clip_norm,
    )
    begun, start = seconds_since_start(), time.perf_counter()
    checkpoint = result.with_suffix(".safetensors")
    for record in trainer.fit():
        if record.is_best:
            save_checkpoint(checkpoint, model, {"settings": config.model_dump(), "epoch": record.epoch})
    trained = time.perf_counter() - start
    model, _, _ = build.load_model(checkpoint, device)
    counted = evaluate(model, validation, thresholds=THRESHOLDS, device=device)
    threshold = choose_threshold(counted.counts, counted.thresholds)
    test = evaluate(
        model, build.build_evaluation_loader(config, data.test, device), thresholds=THRESHOLDS, device=device
    )
    dice = compute_test_metrics(test, threshold, batch_size)["test/dice_per_image"]
    result.write_text(json.dumps({"dice": dice, "begun": begun, "trained": trained}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
