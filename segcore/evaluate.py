"""Test a checkpoint: `python -m segcore.evaluate --run RUN|--checkpoint FILE [KEY=VALUE ...] --output DIR`.

In float32, without autocast, at the threshold that the run chose on validation images, and beside it at 0.4 and 0.5.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text
from torch import nn

from segcore.ablation import parse_overrides
from segcore.build import (
    build_data,
    build_evaluation_loader,
    build_index,
    load_model,
    resolve_device,
    resolve_evaluation_batch,
    resolve_threads,
)
from segcore.command_line import (
    check_output,
    locate_checkpoint,
    reconfigure,
    replacement_note,
    shown,
    user_errors,
    writing,
)
from segcore.config import Layer, RunConfig
from segcore.data import PreparedData
from segcore.errors import UserError
from segcore.evaluation import FIXED_THRESHOLDS, Evaluation, compute_test_metrics, evaluate
from segcore.examples import example_sheets, predict_rows
from segcore.metrics import THRESHOLDS, choose_threshold
from segcore.pictures import SheetRow, overlay
from segcore.tables import per_image_table

# What the other groups say happened in training, and a test cannot change it.
GROUPS = ("data", "evaluation", "execution")
# With these, images that trained may end up in the test set.
SPLIT_KEYS = ("data.validation_fraction", "data.test_fraction", "data.split_seed", "data.synthetic_images")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Tested:
    """A checkpoint and what its test gave.  run: as it was asked for.  notes: what a reader has to know."""

    run: str | None
    checkpoint: Path
    metadata: dict[str, Any]
    config: RunConfig
    data: PreparedData
    threshold: float
    evaluation: Evaluation
    metrics: dict[str, float]
    notes: list[str]


@app.command()
def main(
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="settings, data.root=DIR")] = None,
    run: Annotated[str | None, typer.Option(help="MLflow run: id, first digits of it, NAME or EXPERIMENT/NAME")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="a best.safetensors file")] = None,
    output: Annotated[Path, typer.Option(help="folder for metrics, tables and pictures")] = Path("evaluation"),
    masks: Annotated[bool, typer.Option("--masks", help="also every predicted mask and overlay")] = False,
) -> None:
    """Test a checkpoint on the test set that its settings name, or on another: data.root=DIR, data.format=folders.

    Any setting of the groups data, evaluation and execution can be overridden.
    """
    with user_errors():
        path = locate_checkpoint(run, checkpoint)
        changes = parse_overrides(overrides or [])
        check_overrides(changes)
        check_output(output)
        model, trained, metadata = load_model(path, torch.device("cpu"))
        config = reconfigure(trained, path, changes)
        device = resolve_device(config)
        torch.set_num_threads(resolve_threads(config))
        model = model.to(device)
        tested = replace(run_test(path, model, trained, config, metadata, device), run=run)
        replaced = replacement_note(output)
        with writing(output):
            write_results(tested, output)
            write_sheets(tested, model, device, output)
            if masks:
                write_masks(tested, model, device, output)
        report(tested, output, replaced)


def check_overrides(changes: Layer) -> None:
    """Raises UserError for settings that belong to the training."""
    for key in changes.values:
        group = key.partition(".")[0]
        if group in RunConfig.model_fields and group not in GROUPS:
            groups = ", ".join(GROUPS)
            raise UserError(f"{changes.source}: {key} belongs to the training; a test takes settings of {groups}")


def run_test(
    path: Path, model: nn.Module, trained: RunConfig, config: RunConfig, metadata: dict[str, Any], device: torch.device
) -> Tested:
    """Evaluate the test set of `config`; `trained` are the checkpoint's own settings, for comparison."""
    data = build_data(config, build_index(config))
    threshold, notes = find_threshold(model, config, metadata, data, device)
    evaluation = evaluate(
        model,
        build_evaluation_loader(config, data.test, device),
        thresholds=sorted({threshold, *FIXED_THRESHOLDS}),
        device=device,
    )
    metrics = compute_test_metrics(evaluation, threshold, config.data.batch_size)
    notes += compare_data(trained, config, metadata, data)
    return Tested(None, path, metadata, config, data, threshold, evaluation, metrics, notes)


def find_threshold(
    model: nn.Module, config: RunConfig, metadata: dict[str, Any], data: PreparedData, device: torch.device
) -> tuple[float, list[str]]:
    """The threshold that is set, else the one that the run stored, else the best one on validation images."""
    if config.evaluation.threshold != "validation":
        return config.evaluation.threshold, []
    if "threshold" in metadata:
        return float(metadata["threshold"]), []
    loader = build_evaluation_loader(config, data.validation, device)
    validation = evaluate(model, loader, thresholds=THRESHOLDS, device=device)
    note = "the checkpoint stores no threshold (its run has not finished): chosen now, on the validation images"
    return choose_threshold(validation.counts, THRESHOLDS), [note]


def compare_data(trained: RunConfig, config: RunConfig, metadata: dict[str, Any], data: PreparedData) -> list[str]:
    """How the data differs from what the checkpoint was trained on, and what that means for the numbers."""
    notes = []
    known = metadata.get("data_fingerprint")
    if known is None:
        notes.append("the checkpoint does not say what data it was trained on; whether this is the same is unknown")
    elif known != data.fingerprint:
        notes.append(
            f"this is other data than the checkpoint was trained on (content {data.fingerprint[:12]} here, "
            f"{str(known)[:12]} there): the numbers are not the run's own"
        )
    before, now = trained.flat(), config.flat()
    changed = [key for key in SPLIT_KEYS if before[key] != now[key]]
    if changed:
        notes.append(f"{', '.join(changed)} differs from training: images that trained may be among those tested")
    return notes


def write_results(tested: Tested, output: Path) -> None:
    """metrics.json and test_per_image.parquet."""
    part = tested.data.test
    content = {
        "run": tested.run,
        "checkpoint": shown(tested.checkpoint),
        "epoch": tested.metadata.get("epoch"),
        "threshold": tested.threshold,
        "data": {
            "name": tested.data.name,
            "root": tested.config.data.root,
            "fingerprint": tested.data.fingerprint,
            "trained_on": tested.metadata.get("data_fingerprint"),
            "num_images": len(part),
            "skipped": [{"name": skipped.name, "reason": skipped.reason} for skipped in tested.data.skipped],
        },
        "notes": tested.notes,
        "metrics": tested.metrics,
    }
    (output / "metrics.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    table = per_image_table(part.names, part.breeds, tested.evaluation.counts_at(tested.threshold))
    table.to_parquet(output / "test_per_image.parquet", index=False)


def write_sheets(tested: Tested, model: nn.Module, device: torch.device, output: Path) -> None:
    """The worst, the best and evenly chosen test images."""
    sheets = example_sheets(
        model,
        tested.data.test,
        tested.evaluation.counts_at(tested.threshold),
        threshold=tested.threshold,
        border=tested.config.data.border,
        batch_size=tested.config.data.batch_size,
        device=device,
        title=tested.data.name,
    )
    for name, picture in sheets.items():
        picture.save(output / f"sheet_{name}.png")


def write_masks(tested: Tested, model: nn.Module, device: torch.device, output: Path) -> None:
    """masks/NAME.png (0 and 255) and overlays/NAME.png of all test images, at the size that was tested."""
    folders = [output / "masks", output / "overlays"]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    for row in track_rows(tested, model, device):
        Image.fromarray(row.prediction_HW).convert("L").save(folders[0] / f"{row.caption}.png")
        overlay(row.image_HW3, row.prediction_HW, row.truth_HW).save(folders[1] / f"{row.caption}.png")


def track_rows(tested: Tested, model: nn.Module, device: torch.device) -> Iterator[SheetRow]:
    """The predictions of all test images, with a progress line on stderr."""
    rows = predict_rows(
        model,
        tested.data.test,
        threshold=tested.threshold,
        border=tested.config.data.border,
        batch_size=resolve_evaluation_batch(tested.config, device),
        device=device,
    )
    yield from track(rows, total=len(tested.data.test), description="masks", console=Console(stderr=True))


def report(tested: Tested, output: Path, replaced: str) -> None:
    """The numbers as a table on stdout, what has to be known of them, and where the files are."""
    console = Console(highlight=False)
    console.print(make_table(tested))
    for skipped in tested.data.skipped:
        console.print(f"skipped {skipped.name}: {skipped.reason}", markup=False, soft_wrap=True)
    for note in tested.notes:
        console.print(f"Note: {note}", markup=False, style="bold", soft_wrap=True)
    pictures = "metrics.json, test_per_image.parquet and sheets"
    console.print(f"{pictures} are in {shown(output)}/{replaced}", markup=False, soft_wrap=True)


def make_table(tested: Tested) -> Table:
    """Dice and IoU of the test set at the chosen threshold, at 0.4 and at 0.5."""
    num_images, batch_size = len(tested.data.test), tested.config.data.batch_size
    what = f"{tested.data.name}: {num_images:,} test images, epoch {tested.metadata.get('epoch', 'unknown')}"
    title = f"{tested.run}\n{what}" if tested.run else what
    table = Table(title=Text(title, "italic"))
    table.add_column("metric, at threshold")
    columns = {f"{tested.threshold:g} (chosen)": "test"} | {
        f"{cut:g}": f"test_at_{cut}" for cut in FIXED_THRESHOLDS if cut != tested.threshold
    }
    for heading in columns:
        table.add_column(f"at {heading}", justify="right")
    rows = {
        "Dice, mean over images": "dice_per_image",
        "Dice, whole dataset": "dice_dataset",
        "IoU, mean over images": "iou_per_image",
        "IoU, whole dataset": "iou_dataset",
        f"Dice, batches of {batch_size}": "dice_batch",
    }
    for label, name in rows.items():
        values = [tested.metrics.get(f"{prefix}/{name}") for prefix in columns.values()]
        table.add_row(label, *("" if value is None else f"{value:.4f}" for value in values))
    return table


if __name__ == "__main__":
    app()
