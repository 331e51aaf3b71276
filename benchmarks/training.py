"""Trainings side by side: the report's recipe, what a user would pick instead, and the suite.

    python -m benchmarks.training --model resnet34_unet --image-size 256 --batch 8
    ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.training ...       a processor without bfloat16 matrix instructions

Each contender trains the same network on the same pictures from their files to updated weights, in a process of its
own; they take turns, and what is printed are medians over turns and epochs, after a first epoch that warms up.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.contest import Outcome, Work
from benchmarks.machine import count_flops, describe_machine, matmul_rate
from benchmarks.memory import PeakMemory
from benchmarks.pictures import find_pictures
from segcore.execution.variables import worker_environment

# In the order in which they take turns; the first is what the others are measured against.
CONTENDERS = {
    "report_recipe": "(a) the report's recipe",
    "lightning_smp": "(b) Lightning and smp",
    "suite": "(c) the suite",
}
REFERENCE = "report_recipe"


@dataclass(frozen=True)
class Turn:
    """One contender's outcome in one turn, and the most memory that its processes held, GiB."""

    contender: str
    outcome: Outcome
    memory_gib: float


@dataclass(frozen=True)
class Score:
    """Medians of a contender's turns.

    training, evaluation: images a second.  against: its training over the reference's in the same turn.  waiting:
    share of the training.  start, first: seconds until the first epoch, and of that.  limit: the share of the
    machine's rate of matrix products, in the contender's precision, that its training uses.
    """

    contender: str
    precision: str
    training: float
    spread: tuple[float, float]
    evaluation: float
    against: float
    waiting: float
    start: float
    first: float
    memory_gib: float
    gpu_gib: float | None
    limit: float


def take_turn(contender: str, work: Work) -> Turn:
    """Run a contender in a process of its own.  Raises SystemExit, with its output, where it fails."""
    command = [sys.executable, "-m", f"benchmarks.contenders.{contender}"]
    # The suite's launcher sets the allocator; the others run as their users start them.
    environment = worker_environment("auto") if contender == "suite" else dict(os.environ)
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place) / "work.json", Path(place) / "outcome.json"]
        files[0].write_text(json.dumps(asdict(work)))
        log = Path(place) / "log.txt"
        with log.open("w") as output:
            process = subprocess.Popen(  # noqa: S603
                [*command, *map(str, files)], stdout=output, stderr=subprocess.STDOUT, text=True, env=environment
            )
            with PeakMemory(process) as memory:
                process.wait()
        if process.returncode:
            sys.exit(f"{CONTENDERS[contender]} failed:\n{log.read_text()}")
        return Turn(contender, Outcome(**json.loads(files[1].read_text())), memory.peak / 2**30)


def play(contenders: Sequence[str], work: Work, repeats: int, console: Console) -> list[list[Turn]]:
    """All turns: in each, every contender once."""
    turns: list[list[Turn]] = []
    for number in range(1, repeats + 1):
        turns.append([])
        for contender in contenders:
            console.print(f"turn {number} of {repeats}: {CONTENDERS[contender]}", style="dim")
            turns[-1].append(take_turn(contender, work))
    return turns


def score(turns: Sequence[Sequence[Turn]], work: Work, rates: dict[str, float]) -> list[Score]:
    """The medians of each contender.  rates: operations a second of matrix products in each precision."""
    return [score_one([turn[position] for turn in turns], turns, work, rates) for position in range(len(turns[0]))]


def score_one(of_one: Sequence[Turn], turns: Sequence[Sequence[Turn]], work: Work, rates: dict[str, float]) -> Score:
    """The medians of one contender."""
    speeds = [speed(turn, work) for turn in of_one]
    references = [
        next((speed(one, work) for one in turn if one.contender == REFERENCE), float("nan")) for turn in turns
    ]
    first = of_one[0].outcome
    training = statistics.median(speeds)
    used = training * count_flops(work.model, work.image_size, training=True)
    return Score(
        contender=of_one[0].contender,
        precision=first.precision,
        training=training,
        spread=(min(speeds), max(speeds)),
        evaluation=statistics.median(
            len(work.validation) / statistics.median(turn.outcome.evaluation[1:]) for turn in of_one
        ),
        against=statistics.median(own / other for own, other in zip(speeds, references, strict=True)),
        waiting=statistics.median(sum(turn.outcome.waiting[1:]) / sum(turn.outcome.training[1:]) for turn in of_one),
        start=statistics.median(turn.outcome.start for turn in of_one),
        first=statistics.median(turn.outcome.training[0] for turn in of_one),
        memory_gib=statistics.median(turn.memory_gib for turn in of_one),
        gpu_gib=first.gpu_gib,
        limit=used / rates[precision_of(first)],
    )


def speed(turn: Turn, work: Work) -> float:
    """Images a second of a turn's training, the first epoch left out; a last batch of one image may be missing."""
    return len(work.train) * (len(turn.outcome.training) - 1) / sum(turn.outcome.training[1:])


def precision_of(outcome: Outcome) -> str:
    """The precision of the multiplications, under the suite's names."""
    names = {"16-mixed": "float16", "bf16-mixed": "bfloat16", "32-true": "float32"}
    return names.get(outcome.precision, outcome.precision)


def show(scores: Sequence[Score], work: Work) -> Table:
    """The scores as a table, a column a contender."""
    size = f"{work.image_size} x {work.image_size}"
    title = f"{work.model}, {size}, batch {work.batch_size}, {len(work.train)} images x {work.epochs} epochs"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("")
    for one in scores:
        table.add_column(CONTENDERS[one.contender], justify="right")
    rows: dict[str, Callable[[Score], str]] = {
        "precision": lambda one: one.precision,
        "training, images/s": lambda one: f"{one.training:.2f}",
        "  lowest and highest": lambda one: f"{one.spread[0]:.2f} to {one.spread[1]:.2f}",
        f"  times {CONTENDERS[REFERENCE][:3]}": lambda one: f"{one.against:.2f}",
        "  waiting for data": lambda one: f"{100 * one.waiting:.1f} %",
        "  of the rate of matrix products": lambda one: f"{100 * one.limit:.0f} %",
        "evaluation, images/s": lambda one: f"{one.evaluation:.2f}",
        "start, s": lambda one: f"{one.start:.1f}",
        "first epoch, s": lambda one: f"{one.first:.1f}",
        "memory, GiB": lambda one: f"{one.memory_gib:.2f}",
        "GPU memory, GiB": lambda one: "" if one.gpu_gib is None else f"{one.gpu_gib:.2f}",
    }
    for name, write in rows.items():
        cells = [write(one) for one in scores]
        if any(cells):
            table.add_row(name, *cells)
    return table


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet34_unet", choices=("resnet34_unet", "unet"))
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--images", type=int, default=64, help="images that train; a quarter of them validate")
    parser.add_argument("--epochs", type=int, default=2, help="timed epochs, after one that warms up")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each contender")
    parser.add_argument("--workers", type=int, help="loading processes of (a) and (b); default: the cores, 8 at most")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pets-600"), help="else synthetic pictures")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--json", type=Path, help="also write the scores to this file")
    return parser.parse_args()


def main() -> None:
    """Prepare the pictures, let the contenders take turns, print the table."""
    arguments, console = parse_arguments(), Console()
    with tempfile.TemporaryDirectory() as cache:
        root, names = find_pictures(arguments.data, Path(cache))
        num_validation = max(arguments.batch, arguments.images // 4)
        if len(names) < arguments.images + num_validation:
            sys.exit(f"{root} has {len(names)} images, too few for --images {arguments.images}")
        work = Work(
            model=arguments.model,
            root=str(root),
            train=names[: arguments.images],
            validation=names[arguments.images : arguments.images + num_validation],
            image_size=arguments.image_size,
            batch_size=arguments.batch,
            epochs=arguments.epochs,
            workers=min(8, len(os.sched_getaffinity(0))) if arguments.workers is None else arguments.workers,
            cache=cache,
            device=arguments.device,
        )
        if "suite" in arguments.contenders:  # decodes, so that every turn finds the cache
            take_turn("suite", replace(work, epochs=1))
        turns = play(arguments.contenders, work, arguments.repeats, console)
        device = work.torch_device
        precisions = {precision_of(turn.outcome) for turn in turns[0]}
        rates = {precision: matmul_rate(precision, str(device)) for precision in precisions}
    scores = score(turns, work, rates)
    console.print(show(scores, work))
    console.print(f"{describe_machine(torch.device(device))}; {work.workers} loading processes for (a) and (b)")
    for precision, rate in rates.items():
        console.print(f"matrix products in {precision}: {rate / 1e12:.3g} TFLOP/s")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in scores], indent=1))


if __name__ == "__main__":
    main()
