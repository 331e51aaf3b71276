"""The metrics of a run, as people speak of them: name, unit, which direction is better."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """How a metric is named, scaled and written.

    label: on an axis, the unit included.  phrase: in a sentence.  unit: of a difference, in a sentence.
    scale: a stored difference times it is in that unit (Dice is stored in [0, 1] and compared in points of 100).
    better: which direction is.  digits: after the decimal point, of a difference in its unit.
    value_digits: of a stored value.
    """

    key: str
    label: str
    phrase: str
    unit: str
    scale: float
    better: Literal["higher", "lower"]
    digits: int
    value_digits: int

    @property
    def sign(self) -> int:
        """+1 where higher is better, -1 where lower is: a difference times it is an advantage where positive."""
        return 1 if self.better == "higher" else -1


def overlap(key: str, label: str, phrase: str) -> Metric:
    """A Dice or IoU, compared in points of 100."""
    return Metric(key, label, phrase, "points", 100.0, "higher", 2, 4)


def cost(key: str, label: str, phrase: str, unit: str, digits: int) -> Metric:
    """Something of which less is better."""
    return Metric(key, label, phrase, unit, 1.0, "lower", digits, digits)


PARTS = {
    "test": "test",
    "test_at_0.4": "test (threshold 0.4)",
    "test_at_0.5": "test (threshold 0.5)",
    "val": "validation",
}
SCORES = {
    "dice_per_image": "per-image Dice",
    "dice_dataset": "dataset Dice",
    "iou_per_image": "per-image IoU",
    "iou_dataset": "dataset IoU",
}
# Every metric that a hypothesis may name.
METRICS = {
    metric.key: metric
    for metric in [
        *(
            overlap(f"{part}/{score}", f"{PARTS[part]} {name}", f"{PARTS[part]} {name}")
            for part in ("test", "test_at_0.4", "test_at_0.5")
            for score, name in SCORES.items()
        ),
        overlap("test_at_0.4/dice_batch", "test batch Dice (threshold 0.4)", "test batch Dice at threshold 0.4"),
        overlap("val/dice_per_image", "validation per-image Dice", "validation per-image Dice"),
        overlap("val/dice_dataset", "validation dataset Dice", "validation dataset Dice"),
        overlap("val/dice_batch_soft", "validation soft batch Dice", "validation soft batch Dice"),
        cost("val/loss", "validation loss", "validation loss", "", 4),
        cost("train/loss", "training loss", "training loss", "", 4),
        Metric(
            "val/dice_variation",
            "epoch-to-epoch change of validation Dice",
            "epoch-to-epoch variation of the validation Dice",
            "points",
            100.0,
            "lower",
            2,
            4,
        ),
        cost("epochs_to_90", "epochs to 90 % of the final Dice", "epochs to 90 % of the final Dice", "epochs", 1),
        cost("train_seconds", "training time (s)", "training time", "s", 0),
        cost("epoch_seconds", "time of an epoch (s)", "time of an epoch", "s", 1),
        Metric("images_per_second", "images/s", "throughput", "images/s", 1.0, "higher", 0, 0),
        cost("peak_memory_gib", "peak memory (GiB)", "peak memory", "GiB", 2),
        cost("parameters", "parameters", "number of parameters", "parameters", 0),
        cost("gflops", "GFLOPs an image", "compute of an image", "GFLOPs", 2),
    ]
}
PRIMARY = "test/dice_per_image"


def metric_of(key: str) -> Metric:
    """The metric of that name; one that the table does not know is taken as it is, higher being better."""
    return METRICS.get(key) or Metric(key, key, key, "", 1.0, "higher", 4, 4)
