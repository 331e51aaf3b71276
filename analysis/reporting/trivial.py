"""What a prediction reaches that looks at no image, in the table of results and beside the claims."""

from collections.abc import Iterable, Iterator

from analysis import untrained
from analysis.numbers import NONE, number
from analysis.reporting.material import Material
from analysis.untrained import trivial_dice

ROW = "(every pixel pet)"


def trivial_row(material: Material, metrics: Iterable[str], primary: str, digits: int) -> tuple[str, ...] | None:
    """A row for the table of results; None where nothing is known.  primary: the metric that it has a number of."""
    dice = trivial_dice(material.images)
    if dice is None:
        return None
    return (ROW, *(number(dice, digits) if metric == primary else NONE for metric in metrics))


def describe_untrained(material: Material, arms: Iterable[str], primary: str) -> Iterator[str]:
    """A note where finished runs of these arms are no better than that."""
    finished = material.finished[material.finished["arm"].isin(list(arms))]
    yield from untrained.describe_untrained(finished, trivial_dice(material.images), primary)
