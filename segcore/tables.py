"""Counts as pandas frames, for the tables that a run keeps."""

from collections.abc import Sequence

import pandas as pd

from segcore.metrics import Counts, dice, dice_dataset, iou, iou_dataset


def per_image_table(names: Sequence[str], breeds: Sequence[str | None], counts: Counts) -> pd.DataFrame:
    """One row an image, in the images' order: name, breed, tp, fp, fn, tn, dice, iou.

    names, breeds: N, with None where the breed is unknown.  counts: (N,), pixels.  dice, iou: in [0, 1].
    Raises ValueError where the lengths differ.
    """
    if not len(names) == len(breeds) == len(counts.tp):
        raise ValueError(f"columns must have one length; got {len(names)}, {len(breeds)} and {len(counts.tp)}")
    columns = {
        "name": pd.Series(list(names), dtype="str"),
        "breed": pd.Series(list(breeds), dtype="str"),
        "tp": counts.tp.numpy(),
        "fp": counts.fp.numpy(),
        "fn": counts.fn.numpy(),
        "tn": counts.tn.numpy(),
        "dice": dice(counts).numpy(),
        "iou": iou(counts).numpy(),
    }
    return pd.DataFrame(columns)


def threshold_curve(counts_NT: Counts, thresholds: Sequence[float]) -> pd.DataFrame:
    """One row a threshold: threshold, dice_per_image, dice_dataset, iou_per_image, iou_dataset, all in [0, 1].

    counts_NT: counts (N, T) with T = len(thresholds); per_image is the mean over the N images.
    """
    return pd.DataFrame(
        {
            "threshold": list(thresholds),
            "dice_per_image": dice(counts_NT).mean(0).numpy(),
            "dice_dataset": dice_dataset(counts_NT).numpy(),
            "iou_per_image": iou(counts_NT).mean(0).numpy(),
            "iou_dataset": iou_dataset(counts_NT).numpy(),
        }
    )
