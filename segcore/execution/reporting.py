"""What is reported of a finished training: metrics, tables, pictures and the model, all in the run's folder."""

import json
import logging
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from PIL import Image
from torch import nn

from segcore import build, pictures, tables
from segcore.checkpoint import update_metadata
from segcore.config import RunConfig
from segcore.credentials import without_credentials
from segcore.data import Part, PreparedData
from segcore.evaluation import Evaluation, compute_test_metrics, evaluate
from segcore.examples import example_sheets
from segcore.execution.folder import RunFolder
from segcore.execution.keeping import Heartbeat, Watch
from segcore.metrics import THRESHOLDS, choose_threshold
from segcore.tracking.exporting import save_model

log = logging.getLogger("worker")

# Of PNG files, 0 to 9: twice as fast as Pillow's own 6, and 4 % larger.
PACKING = 4


def report_results(folder: RunFolder, config: RunConfig, data: PreparedData, device: torch.device) -> None:
    """Choose the threshold on validation images, test with the best weights, and write all but the model."""
    model, _, _ = build.load_model(folder.checkpoint, device)
    heartbeat = Heartbeat(folder)
    validation = evaluate_part(config, data.validation, model, device, heartbeat.watch)
    threshold = config.evaluation.threshold
    if threshold == "validation":
        threshold = choose_threshold(validation.counts, validation.thresholds)
    test = evaluate_part(config, data.test, model, device, heartbeat.watch)
    metrics = compute_test_metrics(test, threshold, config.data.batch_size)
    metrics |= {"threshold": threshold, **folder.read("training")}
    shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if name.startswith("test/"))
    log.info("threshold %.2f, %s", threshold, shown)
    settings = json.loads(without_credentials(config.model_dump_json()))
    update_metadata(folder.checkpoint, {"settings": settings, "threshold": threshold})
    write_tables(folder, validation, test, data.test, threshold)
    write_pictures(folder, config, model, data.test, test, threshold, device)
    folder.write("results", {"time": time.time(), "metrics": metrics})


def export_model(folder: RunFolder) -> None:
    """The best weights as an MLflow model."""
    model, config, _ = build.load_model(folder.checkpoint, torch.device("cpu"))
    aside = folder.path / "model.part"
    shutil.rmtree(aside, ignore_errors=True)
    save_model(model, aside, image_size=config.data.image_size)
    shutil.rmtree(folder.model, ignore_errors=True)
    aside.rename(folder.model)


def evaluate_part(
    config: RunConfig, part: Part, model: nn.Module, device: torch.device, watch: Watch = iter
) -> Evaluation:
    """Counts of a part at all thresholds that are reported, without autocast.  watch: what the batches go through."""
    chosen = config.evaluation.threshold
    thresholds = sorted({*THRESHOLDS} | ({chosen} if isinstance(chosen, float) else set()))
    batches = watch(build.build_evaluation_loader(config, part, device))
    return evaluate(model, batches, thresholds=thresholds, device=device)


def write_tables(folder: RunFolder, validation: Evaluation, test: Evaluation, part: Part, threshold: float) -> None:
    """The validation's threshold curve and the test images' counts at the chosen threshold."""
    curve = tables.threshold_curve(validation.counts, validation.thresholds)
    curve.to_parquet(folder.artifacts / "threshold_curve.parquet", index=False)
    per_image = tables.per_image_table(part.names, part.breeds, test.counts_at(threshold))
    per_image.to_parquet(folder.artifacts / "test_per_image.parquet", index=False)


def write_pictures(
    folder: RunFolder,
    config: RunConfig,
    model: nn.Module,
    part: Part,
    test: Evaluation,
    threshold: float,
    device: torch.device,
) -> None:
    """Curves over the epochs, and sheets of test images: the worst, the best, and a few in between."""
    title = f"{config.model.name}, seed {config.seed}"
    pictures.curves(list(folder.lines("epochs")), title).save(folder.artifacts / "curves.png")
    sheets = example_sheets(
        model,
        part,
        test.counts_at(threshold),
        threshold=threshold,
        border=config.data.border,
        batch_size=config.data.batch_size,
        device=device,
        title=title,
    )
    (folder.artifacts / "sheets").mkdir(exist_ok=True)
    with ThreadPoolExecutor() as pool:
        paths = [folder.artifacts / "sheets" / f"{name}.png" for name in sheets]
        list(pool.map(partial(Image.Image.save, compress_level=PACKING), sheets.values(), paths))
