"""Trainings side by side: the report's recipe, what a user would pick instead, and the suite.

    python -m benchmarks.training --model resnet34_unet --image-size 256 --batch 8
    ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.training ...       a processor without bfloat16 matrix instructions

Each contender trains the same network on the same pictures from their files to updated weights, in a process of its
own; they take turns.  After a first epoch that warms up, the timed epochs of a turn are averaged; what is printed are
medians over turns, and of memory the highest.  The suite decodes once, before its turns; that is printed apart.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.command_line import add_pictures, at_least, measuring
from benchmarks.contenders import suite
from benchmarks.contest import Outcome, Work
from benchmarks.machine import describe_machine, matmul_rate
from benchmarks.memory import PeakMemory
from benchmarks.pictures import find_pictures
from benchmarks.scores import CONTENDERS, Turn, precision_of, score, show
from segcore.execution.variables import worker_environment

COMPILE: dict[str, bool | str] = {"auto": "auto", "yes": True, "no": False}


def take_turn(contender: str, work: Work) -> Turn:
    """Run a contender in a process of its own.  Raises SystemExit, with its output, where it fails."""
    command = [sys.executable, "-m", f"benchmarks.contenders.{contender}"]
    # The suite's launcher sets allocator and OpenMP; the others run as their users start them.
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


def time_decoding(work: Work) -> float:
    """Seconds until the suite has found and decoded the pictures, so that every turn finds the cache."""
    start = time.perf_counter()
    suite.load(work, suite.configure(work))
    return time.perf_counter() - start


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet34_unet", choices=("resnet34_unet", "unet"))
    parser.add_argument("--image-size", type=at_least(32), default=256)
    parser.add_argument("--batch", type=at_least(2), default=8)
    parser.add_argument("--images", type=at_least(2), default=64, help="images that train; a quarter of them validate")
    parser.add_argument("--epochs", type=at_least(1), default=2, help="timed epochs, after one that warms up")
    parser.add_argument("--repeats", type=at_least(1), default=3, help="turns of each contender")
    parser.add_argument(
        "--workers", type=at_least(0), help="loading processes of (a) and (b); default: the cores, 8 at most"
    )
    add_pictures(parser)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--compile", choices=tuple(COMPILE), default="auto", help="of the suite, trainer.compile")
    parser.add_argument(
        "--scale-to",
        type=at_least(1),
        nargs=2,
        metavar=("EPOCHS", "IMAGES"),
        help="also the minutes of so long a training at the measured speeds, such as 300 2944; for GPUs",
    )
    parser.add_argument("--json", type=Path, help="also write the scores to this file")
    return parser.parse_args()


def main() -> None:
    """Prepare the pictures, let the contenders take turns, print the table."""
    arguments, console = parse_arguments(), Console()
    with measuring(console), tempfile.TemporaryDirectory() as cache:
        root, names = find_pictures(arguments.data, Path(cache))
        num_validation = max(arguments.batch, arguments.images // 4)
        if len(names) < arguments.images + num_validation:
            sys.exit(
                f"{arguments.data or 'The synthetic set'} has {len(names)} images; --images {arguments.images} and "
                f"{num_validation} for validation are more"
            )
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
            compile=COMPILE[arguments.compile],
        )
        decoding = time_decoding(work) if "suite" in arguments.contenders else None
        turns = play(arguments.contenders, work, arguments.repeats, console)
        device = work.torch_device
        precisions = {precision_of(turn.outcome) for turn in turns[0]}
        rates = {precision: matmul_rate(precision, str(device)) for precision in precisions}
    scores = score(turns, work, rates, decoding)
    console.print(show(scores, work, arguments.scale_to))
    console.print(f"pictures: {arguments.data or 'synthetic'}")
    console.print(f"{describe_machine(torch.device(device))}; {work.workers} loading processes for (a) and (b)")
    for precision, rate in rates.items():
        console.print(f"matrix products in {precision}: {rate / 1e12:.3g} TFLOP/s")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in scores], indent=1))


if __name__ == "__main__":
    main()
