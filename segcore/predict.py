"""Masks for any pictures: `python -m segcore.predict --run RUN|--checkpoint FILE IMAGE_OR_FOLDER... --output DIR`.

Each picture is resized as in training, and the probabilities are resized back to its own size.  Exit status: 0; 1 where
some pictures could not be read (they are named, the others are done); 2 where nothing was written.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import interpolate

from segcore.build import load_model, resolve_device
from segcore.command_line import (
    check_output,
    locate_checkpoint,
    reconfigure,
    replacement_note,
    shown,
    user_errors,
    writing,
)
from segcore.config import Layer
from segcore.data import Border
from segcore.data.reading import UnreadableError
from segcore.errors import UserError
from segcore.metrics import count, dice
from segcore.photos import Photo, read_photo, read_truth
from segcore.picture_files import Job, check_folders, find_pictures, plan_jobs
from segcore.pictures import Mask, SheetRow, caption, fit, overlay, sheet

BATCH_SIZE = 8
SHEET_ROWS = 8
PROGRESS_FROM = 20
EXIT_SOME_UNREADABLE = 1

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class PredictionWriter:
    """Writes masks, overlays and sheets of eight pictures into a folder, which it makes when the first one is ready.

    scores: the Dice of each picture that has a truth.  problems: a sentence for each picture that something was wrong
    with.  border: what a trimap's border pixels count as.
    """

    def __init__(self, output: Path, threshold: float, border: Border) -> None:
        self.output = output
        self.threshold = threshold
        self.border = border
        self.num_written = 0
        self.scores: list[float] = []
        self.problems: list[str] = []
        self._rows: list[SheetRow] = []
        self._num_sheets = 0

    def write(self, job: Job, photo: Photo, probabilities_1HW: Tensor) -> None:
        """The mask, which fits the file pixel by pixel, and the overlay, which is upright; sheets as they fill."""
        size_HW = (photo.image.height, photo.image.width)
        resized_11HW = interpolate(probabilities_1HW[None], size_HW, mode="bilinear", align_corners=False)
        mask_HW: Mask = (resized_11HW > self.threshold)[0, 0].numpy()
        image_HW3 = np.asarray(photo.image)
        with writing(self.output):
            photo.as_stored(Image.fromarray(mask_HW).convert("L")).save(self.output / f"{job.name}_mask.png")
            overlay(image_HW3, mask_HW).save(self.output / f"{job.name}_overlay.png")
        self.num_written += 1
        truth_HW, valid_HW = self._truth(job, photo)
        text = job.name
        if truth_HW is not None:
            self.scores.append(score_of(resized_11HW, truth_HW, valid_HW, self.threshold))
            text = caption(job.name, self.scores[-1], truth_HW)
        self._rows.append(fit(SheetRow(image_HW3, truth_HW, mask_HW, text, valid_HW)))
        if len(self._rows) == SHEET_ROWS:
            self.finish()

    def finish(self) -> None:
        """The rows that are left, as sheet.png, and after it sheet_2.png and so on."""
        if not self._rows:
            return
        self._num_sheets += 1
        name = "sheet.png" if self._num_sheets == 1 else f"sheet_{self._num_sheets}.png"
        with writing(self.output):
            sheet(self._rows, f"Predictions at threshold {self.threshold:g}").save(self.output / name)
        self._rows.clear()

    def _truth(self, job: Job, photo: Photo) -> tuple[Mask | None, Mask | None]:
        if job.truth is None:
            return None, None
        try:
            return read_truth(job.truth, photo, self.border)
        except UnreadableError as error:
            self.problems.append(f"{shown(job.source)}: predicted, but its truth {shown(job.truth)} {error}")
            return None, None


@app.command()
def main(
    images: Annotated[list[Path], typer.Argument(help="pictures, and folders of pictures (not their subfolders)")],
    run: Annotated[str | None, typer.Option(help="MLflow run: id, first digits of it, NAME or EXPERIMENT/NAME")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="a best.safetensors file")] = None,
    output: Annotated[Path, typer.Option(help="folder for masks, overlays and sheets")] = Path("predictions"),
    threshold: Annotated[float | None, typer.Option(help="probability above which a pixel is pet")] = None,
    truth: Annotated[Path | None, typer.Option(help="folder of masks or trimaps with the pictures' names")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
) -> None:
    """Write NAME_mask.png (0 and 255, the picture's own size), NAME_overlay.png and sheets to look at.

    The threshold is the one stored with the checkpoint unless --threshold is given.
    """
    with user_errors():
        path = locate_checkpoint(run, checkpoint)
        check_output(output)
        jobs = plan_jobs(find_pictures(images), truth)
        check_folders(output, jobs)
        model, config, metadata = load_model(path, torch.device("cpu"))
        config = reconfigure(config, path, Layer("--device", {"execution.device": device}))
        cut, origin = choose_cut(threshold, metadata)
        target = resolve_device(config)
        # Its weights stay channels last, as they were loaded, whatever layout trained fastest here.
        model = model.to(target)
        replaced = replacement_note(output)
        writer = PredictionWriter(output, cut, config.data.border)
        predict(jobs, model, config.data.image_size, target, writer)
        report(writer, jobs, origin, replaced)
        if writer.problems:
            raise typer.Exit(EXIT_SOME_UNREADABLE)


def choose_cut(threshold: float | None, metadata: dict[str, Any]) -> tuple[float, str]:
    """The threshold and where it comes from.  Raises UserError unless it lies between 0 and 1."""
    if threshold is None:
        stored = metadata.get("threshold")
        return (0.5, "the checkpoint stores none") if stored is None else (stored, "chosen on validation images")
    if not 0 < threshold < 1:
        raise UserError(f"--threshold {threshold}: must lie between 0 and 1")
    return threshold, "from the command line"


def predict(
    jobs: Sequence[Job], model: nn.Module, image_size: int, device: torch.device, writer: PredictionWriter
) -> None:
    """Read, predict and write in batches, with a progress line on stderr where there are many.

    Raises UserError where no picture can be read; then nothing is written.
    """
    batches = [jobs[start : start + BATCH_SIZE] for start in range(0, len(jobs), BATCH_SIZE)]
    quiet = len(jobs) < PROGRESS_FROM
    for batch in track(batches, description=f"{len(jobs)} pictures", console=Console(stderr=True), disable=quiet):
        photos = read_batch(batch, writer.problems)
        if photos:
            probabilities_N1HW = infer(model, [photo for _, photo in photos], image_size, device)
            for (job, photo), probabilities_1HW in zip(photos, probabilities_N1HW, strict=True):
                writer.write(job, photo, probabilities_1HW)
    if not writer.num_written:
        raise UserError("no picture can be read:\n" + "\n".join(writer.problems))
    writer.finish()


def read_batch(jobs: Sequence[Job], problems: list[str]) -> list[tuple[Job, Photo]]:
    """The jobs whose pictures can be read; the others become problems."""
    photos = []
    for job in jobs:
        try:
            photos.append((job, read_photo(job.source)))
        except UnreadableError as error:
            problems.append(f"skipped {shown(job.source)}: {error}")
    return photos


def infer(model: nn.Module, photos: Sequence[Photo], image_size: int, device: torch.device) -> Tensor:
    """Probabilities of pet, float32 (N, 1, S, S) in the host's memory, for pictures resized to S = image_size."""
    size = (image_size, image_size)
    images = [np.asarray(photo.image.resize(size, Image.Resampling.BICUBIC)) for photo in photos]
    images_N3HW = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        logits_N1HW: Tensor = model(images_N3HW.contiguous(memory_format=torch.channels_last))
        return logits_N1HW.float().sigmoid().cpu()


def score_of(probabilities_11HW: Tensor, truth_HW: Mask, valid_HW: Mask | None, threshold: float) -> float:
    """The Dice of one picture at its own size."""
    valid = None if valid_HW is None else torch.from_numpy(valid_HW.copy())[None, None]
    counts = count(probabilities_11HW, torch.from_numpy(truth_HW.copy())[None, None].float(), (threshold,), valid)
    return dice(counts).item()


def report(writer: PredictionWriter, jobs: Sequence[Job], origin: str, replaced: str) -> None:
    """What was written where on stdout, what went wrong on stderr."""
    for job in jobs:
        if job.name != job.source.stem:
            typer.echo(f"{shown(job.source)}: written as {shown(Path(job.name))}, since its name occurs twice")
    for problem in writer.problems:
        typer.echo(problem, err=True)
    typer.echo(f"{writer.num_written} of {len(jobs)} pictures predicted at threshold {writer.threshold:g} ({origin})")
    if writer.scores:
        typer.echo(f"mean Dice {np.mean(writer.scores):.4f} over {len(writer.scores)} pictures with a truth")
    typer.echo(f"masks, overlays and sheets are in {shown(writer.output)}/{replaced}")


if __name__ == "__main__":
    app()
