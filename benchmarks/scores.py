"""What the turns of a contest come to: each contender's score, and the table."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from benchmarks.contest import Outcome, Work
from benchmarks.machine import count_flops

# In the order in which they take turns.
CONTENDERS = {
    "report_recipe": "(a) the report's recipe",
    "lightning_smp": "(b) Lightning and smp",
    "suite": "(c) the suite",
}
RIVALS = ("report_recipe", "lightning_smp")
# As Lightning calls them, and as the suite does.
PRECISIONS = {"16-mixed": "float16", "bf16-mixed": "bfloat16", "32-true": "float32"}
# Of the report's training list: 736 images validate, 2,944 train.
VALIDATION_SHARE = 0.25


@dataclass(frozen=True)
class Turn:
    """One contender's outcome in one turn, and the most memory that its processes held, GiB."""

    contender: str
    outcome: Outcome
    memory_gib: float


@dataclass(frozen=True)
class Spread:
    """A quantity over the turns."""

    median: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Score:
    """A contender: in each turn the mean over its timed epochs, of these the median over turns; memory is the highest.

    training, evaluation: images a second.  against: its training over each rival's in the same turn.  waiting: share of
    the training.  recording: seconds an epoch, to keep its results.  start, first: seconds until the first epoch, and
    of that.  decoding: seconds, once, before all turns; None where every epoch decodes.  limit: the share of the
    machine's rate of matrix products, in the contender's precision, that its training uses.
    """

    contender: str
    precision: str
    training: Spread
    against: dict[str, Spread]
    evaluation: float
    waiting: float
    recording: float
    start: float
    first: float
    decoding: float | None
    memory_gib: float
    gpu_gib: float | None
    limit: float


def score(
    turns: Sequence[Sequence[Turn]], work: Work, rates: dict[str, float], decoding: float | None = None
) -> list[Score]:
    """The score of each contender; turns: of each, every contender in the same order.

    rates: operations a second of matrix products in each precision.  decoding: the suite's, seconds.
    """
    contenders = [turn.contender for turn in turns[0]]
    outcomes = {name: [turn[position].outcome for turn in turns] for position, name in enumerate(contenders)}
    memory = {name: max(turn[position].memory_gib for turn in turns) for position, name in enumerate(contenders)}
    return [score_one(name, outcomes, memory[name], work, rates, decoding) for name in contenders]


def score_one(
    contender: str,
    outcomes: dict[str, list[Outcome]],
    memory_gib: float,
    work: Work,
    rates: dict[str, float],
    decoding: float | None,
) -> Score:
    """The score of one contender.  outcomes: those of all, a number a turn."""
    own = outcomes[contender]
    speeds = {name: [images_a_second(one) for one in of_one] for name, of_one in outcomes.items()}
    precision = precision_of(own[0])
    training = spread(speeds[contender])
    rivals = [name for name in RIVALS if name in outcomes and name != contender]
    on_gpu = [one.gpu_gib for one in own if one.gpu_gib is not None]
    return Score(
        contender=contender,
        precision=own[0].precision,
        training=training,
        against={
            name: spread([ours / theirs for ours, theirs in zip(speeds[contender], speeds[name], strict=True)])
            for name in rivals
        },
        evaluation=statistics.median(len(work.validation) / mean_timed(one.evaluation) for one in own),
        waiting=statistics.median(mean_timed(one.waiting) / mean_timed(one.training) for one in own),
        recording=statistics.median(mean_timed(one.recording) if one.recording else 0.0 for one in own),
        start=statistics.median(one.start for one in own),
        first=statistics.median(one.training[0] for one in own),
        decoding=decoding if contender == "suite" else None,
        memory_gib=memory_gib,
        gpu_gib=max(on_gpu) if on_gpu else None,
        limit=training.median * count_flops(work.model, work.image_size, training=True) / rates[precision],
    )


def mean_timed(epochs: Sequence[float]) -> float:
    """The mean of an outcome's list without its first epoch, which warms up."""
    return statistics.fmean(epochs[1:])


def images_a_second(outcome: Outcome) -> float:
    """The speed of a turn's training: images that were really trained, over the mean of the timed epochs."""
    return outcome.images / mean_timed(outcome.training)


def spread(values: Sequence[float]) -> Spread:
    """Median and range."""
    return Spread(statistics.median(values), min(values), max(values))


def precision_of(outcome: Outcome) -> str:
    """The precision of the multiplications, under the suite's names."""
    return PRECISIONS.get(outcome.precision, outcome.precision)


def scaled_minutes(one: Score, epochs: int, images: int) -> float:
    """Minutes of so many epochs on so many images at the measured speeds: training, validation and recording.

    A quarter as many images validate.  Neither start and first epoch nor decoding are in it.
    """
    seconds = images / one.training.median + VALIDATION_SHARE * images / one.evaluation + one.recording
    return epochs * seconds / 60


def show(scores: Sequence[Score], work: Work, scale_to: Sequence[int] | None = None) -> Table:
    """The scores as a table, a column a contender.  scale_to: epochs and images of a training to scale to."""
    size = f"{work.image_size} x {work.image_size}"
    title = f"{work.model}, {size}, batch {work.batch_size}, {len(work.train)} images x {work.epochs} epochs"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for one in scores:
        table.add_column(CONTENDERS[one.contender], justify="right")
    rows: dict[str, Callable[[Score], str]] = {
        "precision": lambda one: one.precision,
        "training, images/s": lambda one: f"{one.training.median:.2f}",
        "  lowest and highest": lambda one: f"{one.training.lowest:.2f} to {one.training.highest:.2f}",
        **{f"  times {CONTENDERS[rival][:3]}": ratio_to(rival) for rival in RIVALS},
        "  waiting for data": lambda one: f"{100 * one.waiting:.1f} %",
        "  of the rate of matrix products": lambda one: f"{100 * one.limit:.0f} %",
        "evaluation, images/s": lambda one: f"{one.evaluation:.2f}",
        "keeping an epoch's results, s": lambda one: f"{one.recording:.2f}" if one.recording else "",
        "start, s": lambda one: f"{one.start:.1f}",
        "first epoch, s": lambda one: f"{one.first:.1f}",
        "decoding, once, s": lambda one: "" if one.decoding is None else f"{one.decoding:.1f}",
        "memory, GiB": lambda one: f"{one.memory_gib:.2f}",
        "GPU memory, GiB": lambda one: "" if one.gpu_gib is None else f"{one.gpu_gib:.2f}",
    }
    if scale_to:
        epochs, images = scale_to
        rows[f"{epochs} epochs of {images:,}, min"] = lambda one: f"{scaled_minutes(one, epochs, images):.1f}"
        table.caption = f"minutes: scaled from {work.epochs} epochs of {len(work.train):,} images"
    for name, write in rows.items():
        cells = [write(one) for one in scores]
        if any(cells):
            table.add_row(name, *cells)
    return table


def ratio_to(rival: str) -> Callable[[Score], str]:
    """A cell: how many times as fast as the rival, with the range over turns; empty for what was not compared."""

    def write(one: Score) -> str:
        ratio = one.against.get(rival)
        return "" if ratio is None else f"{ratio.median:.2f} ({ratio.lowest:.2f} to {ratio.highest:.2f})"

    return write
