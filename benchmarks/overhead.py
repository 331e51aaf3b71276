"""What runner and tracking cost: calls of `runner.py` against a script of one's own around the same trainer.

    python -m benchmarks.overhead --epochs 10 --more 2
    python -m benchmarks.overhead --epochs 2 20 --more 0           what of the cost grows with the run

In turns, on built-in data: a call of the runner for one run; the script, which trains and tests with the same
settings; a complete script, which also writes tables, pictures and the MLflow model; and a call for several more seeds.
The first run's cost is the difference to the script; a further run's is what it adds, less what the script took without
its start.  Further lengths get a call and a script in each turn.  Database and decoded data are there before.

A call has the environment of whoever starts the benchmark, so that beginning anew with its own settings counts.  The
script is given a worker's environment at once: its training is as fast as a run's, and what differs is the rest.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.command_line import at_least, measuring
from benchmarks.machine import describe_machine
from segcore.execution.variables import PROJECT, worker_environment

TEN_MINUTES = 600


@dataclass(frozen=True)
class Pair:
    """A call of the runner for one run, and the script on the run's settings; seconds.

    script: of the whole script; training: of its epochs; work: of training and testing, its start left out.  same:
    whether both found the same Dice.
    """

    epochs: int
    call: float
    script: float
    training: float
    work: float
    same: bool

    @property
    def cost(self) -> float:
        """What runner and tracking add to the script."""
        return self.call - self.script


@dataclass(frozen=True)
class Turn:
    """A pair of each length; then at the first length, seconds of the complete script and of a call for more runs."""

    pairs: tuple[Pair, ...]
    complete: float
    longer: float | None


def user_environment() -> dict[str, str]:
    """The variables that this program was started with; MLflow's database is the folder's own."""
    return {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}


def seconds_of(command: Sequence[str], place: Path, environment: Mapping[str, str]) -> float:
    """How long a command takes in a folder.  Raises SystemExit with its output where it fails."""
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603
        [sys.executable, *command], cwd=place, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


class Arena:
    """A project of its own in which calls are made; every call has seeds that none had before."""

    def __init__(self, place: Path, overrides: Sequence[str]) -> None:
        self.place = place
        self.overrides = overrides
        self.next_seed = 1

    def command(self, number: int, *settings: str) -> list[str]:
        """A call that trains so many runs, as arguments of Python."""
        seeds = range(self.next_seed, self.next_seed + number)
        self.next_seed += number
        options = ["--preset=demo", "--only=BCE", "--no-report", f"--seeds={','.join(map(str, seeds))}"]
        return [str(PROJECT / "runner.py"), "loss", *options, *self.overrides, *settings]

    def call(self, number: int, epochs: int) -> float:
        """Seconds of such a call."""
        return seconds_of(self.command(number, f"trainer.epochs={epochs}"), self.place, user_environment())

    def last_run(self) -> Path:
        """The folder of the run that ended last."""
        return max(self.place.glob("runs/*/results.json"), key=os.path.getmtime).parent

    def script(self, *options: str) -> tuple[float, dict[str, float]]:
        """The script on the last run's settings: its seconds, and what it found."""
        result = self.place / "script.json"
        command = ["-m", "benchmarks.contenders.plain", str(self.last_run() / "settings.yaml"), str(result), *options]
        seconds = seconds_of(command, self.place, worker_environment() | {"MLFLOW_TRACKING_URI": ""})
        return seconds, json.loads(result.read_text())

    def pair(self, epochs: int) -> Pair:
        """Runner and script, one after the other."""
        call = self.call(1, epochs)
        metrics = json.loads((self.last_run() / "results.json").read_text())["metrics"]
        script, found = self.script()
        same = abs(metrics["test/dice_per_image"] - found["dice"]) < 1e-6
        return Pair(epochs, call, script, found["trained"], script - found["begun"], same)

    def play(self, lengths: Sequence[int], more: int) -> Turn:
        """One turn.  more: runs of the longer call beside the first; 0 for no such call."""
        first = self.pair(lengths[0])
        complete, _ = self.script("--complete")
        longer = self.call(1 + more, lengths[0]) if more else None
        return Turn((first, *(self.pair(epochs) for epochs in lengths[1:])), complete, longer)


def show(turns: Sequence[Turn], more: int) -> Table:
    """The first length: medians and ranges, and the costs' share of ten minutes if they were the same there."""
    pairs = [turn.pairs[0] for turn in turns]
    table = Table(title=f"{pairs[0].epochs} epochs", box=box.SIMPLE_HEAD)
    for column in ("", "seconds", "lowest and highest", "of ten minutes"):
        table.add_column(column, justify="left" if not column else "right")
    times = {
        "the script": [pair.script for pair in pairs],
        "  training and testing": [pair.work for pair in pairs],
        "the complete script": [turn.complete for turn in turns],
        "a call for one run": [pair.call for pair in pairs],
    }
    costs = {"runner, tracking, tables, pictures and model: first run": [pair.cost for pair in pairs]}
    longer = [(turn.longer, turn.pairs[0]) for turn in turns if turn.longer is not None]
    if longer:
        times[f"a call for {1 + more} runs"] = [seconds for seconds, _ in longer]
        costs["  each further run"] = [(seconds - pair.call) / more - pair.work for seconds, pair in longer]
    costs["runner and tracking alone (against the complete script)"] = [
        turn.pairs[0].call - turn.complete for turn in turns
    ]
    for name, values in (times | costs).items():
        share = f"{100 * statistics.median(values) / TEN_MINUTES:.2f} %" if name in costs else ""
        table.add_row(name, f"{statistics.median(values):.2f}", span(values), share)
    return table


def span(values: Sequence[float], digits: int = 2) -> str:
    """The lowest and the highest."""
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def fit_growth(turn: Turn) -> tuple[float, float]:
    """The cost of a run without any training, seconds, and what each second of training adds: a line through a turn."""
    slope, intercept = np.polyfit([pair.training for pair in turn.pairs], [pair.cost for pair in turn.pairs], 1)
    return float(intercept), float(slope)


def show_growth(turns: Sequence[Turn]) -> Table:
    """The first run's cost at each length, the line through it, and where that leads for ten minutes of training."""
    table = Table(title="the first run's cost, by length", box=box.SIMPLE_HEAD)
    for column in ("", "training, s", "script, s", "call, s", "cost, s", "lowest and highest"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=not column)
    for pairs in zip(*(turn.pairs for turn in turns), strict=True):
        columns = ([getattr(pair, name) for pair in pairs] for name in ("training", "script", "call", "cost"))
        medians = [f"{statistics.median(values):.2f}" for values in columns]
        table.add_row(f"{pairs[0].epochs} epochs", *medians, span([pair.cost for pair in pairs]))
    lines = [fit_growth(turn) for turn in turns]
    slopes = [slope for _, slope in lines]
    long = [intercept + TEN_MINUTES * slope for intercept, slope in lines]
    rows = {"a second of training adds": slopes, "ten minutes of it, by this line": long}
    for name, values in rows.items():
        median = statistics.median(values)
        share = f" ({100 * median / TEN_MINUTES:.2f} %)" if values is long else ""
        table.add_row(name, "", "", "", f"{median:.3f}{share}", span(values, digits=3))
    return table


def main() -> None:
    """Let script and runner take turns, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--epochs", type=at_least(1), nargs="+", default=[10], help="of the runs; several lengths show growth"
    )
    parser.add_argument(
        "--more", type=at_least(0), default=2, help="runs that the longer call has beside the first; 0: no such"
    )
    parser.add_argument("--repeats", type=at_least(1), default=3)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the runs")
    arguments, console = parser.parse_args(), Console()
    with measuring(console), tempfile.TemporaryDirectory() as place:
        arena = Arena(Path(place), arguments.set)
        first = arena.call(1, arguments.epochs[0])
        console.print(f"the very first call, which makes database and data: {first:.1f} s", style="dim")
        turns = []
        for number in range(1, arguments.repeats + 1):
            console.print(f"turn {number} of {arguments.repeats}", style="dim")
            turns.append(arena.play(arguments.epochs, arguments.more))
    console.print(show(turns, arguments.more))
    if len(arguments.epochs) > 1:
        console.print(show_growth(turns))
    same = all(pair.same for turn in turns for pair in turn.pairs)
    console.print(f"script and runner found the same Dice: {'yes' if same else 'NO'}")
    console.print(describe_machine(torch.device("cuda" if torch.cuda.is_available() else "cpu")))


if __name__ == "__main__":
    main()
