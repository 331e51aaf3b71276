"""What runner and tracking cost: calls of `runner.py` against a script of one's own around the same trainer.

    python -m benchmarks.overhead --epochs 10 --more 2

In turns, on built-in data: the script trains and tests once; a complete one also writes tables, pictures and the MLflow
model; a call of the runner does all that, and one does it for several more seeds.  The first run's cost is the
difference to the script; a further run's is what it adds, less what the script took without its start.  The database
and the decoded data are there before.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from segcore.execution.variables import PROJECT, worker_environment

TEN_MINUTES = 600


@dataclass(frozen=True)
class Turn:
    """Seconds.  script: of the whole script; work: of it, training and testing; complete: of the complete script.

    call, longer: of the runner's calls.

    same: whether script and runner found the same Dice.
    """

    script: float
    work: float
    complete: float
    call: float
    longer: float
    same: bool


def seconds_of(command: Sequence[str], place: Path) -> float:
    """How long a command takes in a folder.  Raises SystemExit with its output where it fails."""
    environment = worker_environment() | {"MLFLOW_TRACKING_URI": ""}
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

    def command(self, number: int) -> list[str]:
        """A call that trains so many runs, as arguments of Python."""
        seeds = range(self.next_seed, self.next_seed + number)
        self.next_seed += number
        options = ["--preset=demo", "--only=BCE", "--no-report", f"--seeds={','.join(map(str, seeds))}"]
        return [str(PROJECT / "runner.py"), "loss", *options, *self.overrides]

    def call(self, number: int) -> float:
        """Seconds of such a call."""
        return seconds_of(self.command(number), self.place)

    def last_run(self) -> Path:
        """The folder of the run that ended last."""
        return max(self.place.glob("runs/*/results.json"), key=os.path.getmtime).parent

    def script(self, *options: str) -> tuple[float, float, float]:
        """The script on the last run's settings: its seconds, those of training and testing alone, and the Dice."""
        result = self.place / "script.json"
        settings = self.last_run() / "settings.yaml"
        seconds = seconds_of(["-m", "benchmarks.contenders.plain", str(settings), str(result), *options], self.place)
        found = json.loads(result.read_text())
        return seconds, seconds - found["begun"], found["dice"]

    def play(self, more: int) -> Turn:
        """One turn.  more: runs of the longer call beside the first."""
        call = self.call(1)
        run = json.loads((self.last_run() / "results.json").read_text())
        script, work, dice = self.script()
        complete, _, _ = self.script("--complete")
        longer = self.call(1 + more)
        return Turn(script, work, complete, call, longer, abs(run["metrics"]["test/dice_per_image"] - dice) < 1e-6)


def show(turns: Sequence[Turn], more: int) -> Table:
    """Medians, and what they are of a run of ten minutes."""
    first = [turn.call - turn.script for turn in turns]
    alone = [turn.call - turn.complete for turn in turns]
    further = [(turn.longer - turn.call) / more - turn.work for turn in turns]
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("", "seconds", "lowest and highest", "of ten minutes"):
        table.add_column(column, justify="left" if not column else "right")
    rows = {
        "the script": [turn.script for turn in turns],
        "  training and testing": [turn.work for turn in turns],
        "the complete script": [turn.complete for turn in turns],
        "a call for one run": [turn.call for turn in turns],
        f"a call for {1 + more} runs": [turn.longer for turn in turns],
        "runner, tracking, tables, pictures and model: first run": first,
        "  each further run": further,
        "runner and tracking alone (against the complete script)": alone,
    }
    for name, values in rows.items():
        median = statistics.median(values)
        is_cost = values is first or values is further or values is alone
        share = f"{100 * median / TEN_MINUTES:.2f} %" if is_cost else ""
        table.add_row(name, f"{median:.2f}", f"{min(values):.2f} to {max(values):.2f}", share)
    return table


def main() -> None:
    """Let script and runner take turns, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--more", type=int, default=2, help="runs that the longer call has beside the first")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the runs")
    arguments, console = parser.parse_args(), Console()
    with tempfile.TemporaryDirectory() as place:
        arena = Arena(Path(place), [f"trainer.epochs={arguments.epochs}", *arguments.set])
        seconds_of([str(PROJECT / "runner.py"), "--list"], arena.place)
        first = arena.call(1)
        console.print(f"the very first call, which makes database and data: {first:.1f} s", style="dim")
        turns = []
        for number in range(1, arguments.repeats + 1):
            console.print(f"turn {number} of {arguments.repeats}", style="dim")
            turns.append(arena.play(arguments.more))
    console.print(show(turns, arguments.more))
    console.print(f"script and runner found the same Dice: {'yes' if all(turn.same for turn in turns) else 'NO'}")
    console.print(describe_machine(torch.device("cuda" if torch.cuda.is_available() else "cpu")))


if __name__ == "__main__":
    main()
