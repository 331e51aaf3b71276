"""The metrics of a run, as people speak of them: name, unit, which direction is better."""

from dataclasses import dataclass
from typing import Literal

COUNTABLE = ("points", "epochs", "parameters", "GFLOPs")  # units in the plural


@dataclass(frozen=True)
class Metric:
    """How a metric is named, scaled and written.

    label: on an axis, the unit included.  phrase: in a sentence.  unit: of a difference, in a sentence.
    scale: a stored difference times it is in that unit (Dice is stored in [0, 1] and compared in points of 100).
    better: which direction is.  digits: after the decimal point, of a difference in its unit.
    value_digits: of a stored value.
    difference: the sentence of a difference; {amount} is number and unit, {more} one of `words`, for more and for less.
    quotient: the sentence of a ratio, which is above 1 where the first arm is better.
    step: between neighbouring values where they are rounded, as epochs are to whole ones, or below which a difference
    means nothing where a metric may be the same for every seed, as the memory of a GPU is; else 0.
    of_machine: whether it depends on the machine, so that only runs of one can be compared.
    """

    key: str
    label: str
    phrase: str
    unit: str
    scale: float
    better: Literal["higher", "lower"]
    digits: int
    value_digits: int
    difference: str = "The {phrase} of {first} is {amount} {more} than that of {second}"
    words: tuple[str, str] = ("higher", "lower")
    quotient: str = ""
    step: float = 0.0
    of_machine: bool = False

    def __post_init__(self) -> None:
        """A metric without a sentence of its own for ratios gets a general one."""
        if not self.quotient:
            above, below = ("first", "second") if self.better == "higher" else ("second", "first")
            sentence = f"The {{phrase}} of {{{above}}} is {{ratio}} times that of {{{below}}}"
            object.__setattr__(self, "quotient", sentence)

    @property
    def sign(self) -> int:
        """+1 where higher is better, -1 where lower is: a difference times it is an advantage where positive."""
        return 1 if self.better == "higher" else -1

    def with_unit(self, number: str) -> str:
        """A difference as text with its unit, one of it in the singular: `0.4 points`, `1 epoch`, `0.005`."""
        unit = self.unit.removesuffix("s") if number == "1" and self.unit in COUNTABLE else self.unit
        return f"{number} {unit}".rstrip()


def overlap(key: str, label: str, phrase: str) -> Metric:
    """A Dice or IoU, compared in points of 100."""
    sentence = "{first} reaches {amount} {more} {phrase} than {second}"
    return Metric(key, label, phrase, "points", 100.0, "higher", 2, 4, sentence, ("more", "less"))


def cost(
    key: str,
    label: str,
    phrase: str,
    unit: str,
    digits: int,
    sentence: str,
    words: tuple[str, str] = ("more", "less"),
    quotient: str = "",
    step: float = 0.0,
    of_machine: bool = False,
) -> Metric:
    """Something of which less is better."""
    return Metric(key, label, phrase, unit, 1.0, "lower", digits, digits, sentence, words, quotient, step, of_machine)


def loss(key: str, phrase: str) -> Metric:
    """A loss, of the last epoch."""
    sentence = "{first} ends at a {phrase} that is {amount} {more} than that of {second}"
    return cost(key, phrase, phrase, "", 4, sentence, ("higher", "lower"))


# The test metrics' parts, by what follows their names in a sentence.
PARTS = {"test": "", "test_at_0.4": " at threshold 0.4", "test_at_0.5": " at threshold 0.5"}
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
            overlap(f"{part}/{score}", f"test {name}{where}", f"test {name}{where}")
            for part, where in PARTS.items()
            for score, name in SCORES.items()
        ),
        overlap("test_at_0.4/dice_batch", "test batch Dice (threshold 0.4)", "test batch Dice at threshold 0.4"),
        overlap("val/dice_per_image", "validation per-image Dice", "validation per-image Dice"),
        overlap("val/dice_dataset", "validation dataset Dice", "validation dataset Dice"),
        overlap("val/dice_batch_soft", "validation soft batch Dice", "validation soft batch Dice"),
        loss("val/loss", "validation loss"),
        loss("train/loss", "training loss"),
        Metric(
            "val/dice_variation",
            "epoch-to-epoch change of validation Dice",
            "epoch-to-epoch variation of the validation Dice",
            "points",
            100.0,
            "lower",
            2,
            4,
            "The validation Dice of {first} changes {amount} {more} from epoch to epoch than that of {second}",
            ("more", "less"),
        ),
        cost(
            "epochs_to_90",
            "epochs to 90 % of the final Dice",
            "epochs to 90 % of the final Dice",
            "epochs",
            1,
            "{first} needs {amount} {more} than {second} to reach 90 % of the final Dice",
            ("more", "fewer"),
            "{second} needs {ratio} times as many epochs as {first} to reach 90 % of the final Dice",
            step=1.0,
        ),
        cost(
            "train_seconds",
            "training time (s)",
            "training time",
            "s",
            0,
            "{first} takes {amount} {more} training time than {second}",
            quotient="{first} trains {ratio} times as fast as {second}",
            of_machine=True,
        ),
        cost(
            "epoch_seconds",
            "time of an epoch (s)",
            "time of an epoch",
            "s",
            1,
            "{first} takes {amount} {more} for an epoch than {second}",
            quotient="{first} is {ratio} times as fast in an epoch as {second}",
            of_machine=True,
        ),
        Metric(
            "images_per_second",
            "images/s",
            "throughput",
            "images/s",
            1.0,
            "higher",
            0,
            0,
            "{first} processes {amount} {more} than {second}",
            ("more", "fewer"),
            "{first} processes {ratio} times as many images a second as {second}",
            of_machine=True,
        ),
        cost(
            "peak_memory_gib",
            "peak memory (GiB)",
            "peak memory",
            "GiB",
            2,
            "{first} uses {amount} {more} memory at its peak than {second}",
            step=0.01,
            of_machine=True,
        ),
        cost(
            "parameters",
            "parameters",
            "number of parameters",
            "parameters",
            0,
            "{first} has {amount} {more} than {second}",
            ("more", "fewer"),
        ),
        cost(
            "gflops",
            "GFLOPs an image",
            "compute of an image",
            "GFLOPs",
            2,
            "{first} needs {amount} {more} for an image than {second}",
        ),
    ]
}
PRIMARY = "test/dice_per_image"
# The same at the threshold of the validation metrics.
TEST_AT_HALF = "test_at_0.5/dice_per_image"


def metric_of(key: str) -> Metric:
    """The metric of that name; one that the table does not know is taken as it is, higher being better."""
    return METRICS.get(key) or Metric(key, key, key, "", 1.0, "higher", 4, 4)
