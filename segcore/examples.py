"""Predictions for a dataset's test images, as rows and sheets to look at."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import nn

from segcore.data import Border, EvaluationLoader, Part
from segcore.metrics import Counts, dice
from segcore.pictures import SheetRow, caption, choose_examples, every_tenth_batch, sheet

SHEET_ROWS = 8
TITLES = {"worst": "worst test images", "best": "best test images", "tenth_batches": "test images of every tenth batch"}


def predict_rows(
    model: nn.Module, part: Part, *, threshold: float, border: Border, batch_size: int, device: torch.device
) -> Iterator[SheetRow]:
    """Each image of the part, in order, with its truth and its prediction p > threshold; the caption is the name."""
    names = iter(part.names)
    images = iter(part.images_NHW3)
    model.eval()
    for batch in EvaluationLoader(part, batch_size=batch_size, device=device, border=border):
        with torch.inference_mode():
            predictions_NHW = (model(batch.images_N3HW).float().sigmoid() > threshold)[:, 0].cpu().numpy()
        truths_NHW = (batch.masks_N1HW > 0.5)[:, 0].cpu().numpy()
        valid = [None] * len(truths_NHW) if batch.valid_N1HW is None else list(batch.valid_N1HW[:, 0].cpu().numpy())
        for prediction_HW, truth_HW, valid_HW in zip(predictions_NHW, truths_NHW, valid, strict=True):
            yield SheetRow(np.asarray(next(images)), truth_HW, prediction_HW, next(names), valid_HW)


def example_sheets(
    model: nn.Module,
    part: Part,
    counts: Counts,
    *,
    threshold: float,
    border: Border,
    batch_size: int,
    device: torch.device,
    title: str,
) -> dict[str, Image.Image]:
    """Sheets of up to eight images each: "worst" and "best" of the per-image Dice, and "tenth_batches".

    counts: (N,), of the part's images at the threshold.  batch_size: the report's batch, `data.batch_size`.
    title: what the predictions are of, such as a run's name; each sheet adds what it shows.
    """
    scores_N = dice(counts).numpy()
    chosen = choose_examples(scores_N, SHEET_ROWS)
    chosen["tenth_batches"] = every_tenth_batch(len(part), batch_size, SHEET_ROWS)
    sheets = {}
    for name, indices in chosen.items():
        predicted = predict_rows(
            model,
            select(part, indices),
            threshold=threshold,
            border=border,
            batch_size=SHEET_ROWS,
            device=device,
        )
        rows = [
            replace(row, caption=caption(row.caption, score, row.truth_HW))
            for row, score in zip(predicted, scores_N[indices], strict=True)
        ]
        sheets[name] = sheet(rows, f"{title}: {TITLES[name]}, threshold {threshold:g}")
    return sheets


def select(part: Part, indices: Sequence[int]) -> Part:
    """The part's images of these indices, in the order given."""
    rows = list(indices)
    names, breeds = tuple(part.names[row] for row in rows), tuple(part.breeds[row] for row in rows)
    return Part(names, breeds, part.pixels_NHW4[rows])
