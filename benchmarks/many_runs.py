"""How those parts of a call that look at all runs grow with their number: `python -m benchmarks.many_runs`.

    --runs 100 1000 4000     how many there are, finished, of 12 epochs each
    --arms 10                arms of the ablation, each on as many seeds as that makes

Nothing is trained: the runs' folders are made up.  For each number three parts are timed, the median of three: making
the plan, a look at it (`--dry-run`), and the closing tables with the verdicts.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml
from rich.console import Console

import call
from analysis.terminal import show_verdicts
from analysis.verdicts import judge
from benchmarks.command_line import at_least, measuring
from benchmarks.parts import seconds_of
from segcore import build
from segcore.execution.attempts import start_attempt
from segcore.execution.planning import Lookup, find_runs_to_do, make_plans
from segcore.execution.request import Request
from segcore.execution.terminal import results_tables
from segcore.plan import Plan, Run

EPOCHS = 12
REPEATS = 3
FILE = Path("many.yaml")
HEAD = """| runs | plan, s | --dry-run, s | closing tables, s |
| ---: | ---: | ---: | ---: |"""


def write_file(num_runs: int, num_arms: int) -> None:
    """An ablation of so many runs, in the current folder."""
    arms = {f"lr {number}e-5": {"optimizer.lr": number * 1e-5} for number in range(1, num_arms + 1)}
    first, second = list(arms)[:2]
    claim = {"claim": "more is better", "better": second, "than": first, "margin": 0.005}
    content = {
        "name": "many",
        "title": "Many",
        "question": "How long does a look take?",
        "settings": {"data": {"format": "synthetic", "synthetic_images": 40, "image_size": 32}},
        "factor": "optimizer.lr",
        "arms": arms,
        "seeds": list(range(-(-num_runs // num_arms))),
        "hypotheses": [claim | {"metric": "test/dice_per_image"}],
    }
    FILE.write_text(yaml.safe_dump(content, sort_keys=False))


def write_run(run: Run, sizes: dict[str, int]) -> None:
    """The folder of a finished run, with made-up numbers."""
    folder = start_attempt(run, "float32")
    folder.write("environment", {"device": "cpu", "threads": 2, "host": "here"})
    folder.write("data", {"fingerprint": run.data_fingerprint, "sizes": sizes})
    metrics = {"train/loss": 0.5, "val/dice_per_image": 0.7, "images_per_second": 10.0, "epoch_seconds": 12.0}
    lines = [f'{{"epoch": {epoch}, "time": 0.0, "metrics": {metrics}}}'.replace("'", '"') for epoch in range(EPOCHS)]
    (folder.path / "epochs.jsonl").write_text("\n".join(lines) + "\n")
    folder.write("training", {"train_seconds": 144.0, "peak_memory_gib": 1.5})
    dice = 0.8 + hash((run.arm, run.seed)) % 1000 / 1e5
    folder.write("results", {"time": 0.0, "metrics": {"test/dice_per_image": dice, "train_seconds": 144.0}})
    folder.set_state("finished")


def close(plan: Plan, console: Console) -> None:
    """What a call shows at its end."""
    console.print(results_tables(plan))
    console.print(show_verdicts(judge(call.definition_of(plan), call.frame_of(plan))))


def measure(num_runs: int, num_arms: int) -> str:
    """A row of the table."""
    write_file(num_runs, num_arms)
    request, lookup, console = Request([FILE]), Lookup(), Console(file=io.StringIO())
    (plan,) = make_plans(request, lookup)
    index = lookup.index(plan.runs[0].config)
    sizes = {"train": len(index.train), "validation": len(index.validation), "test": len(index.test)}
    for run in plan.runs:
        write_run(run, sizes)

    def look() -> None:
        call.look_ahead(request, calibrate=False, console=console)

    def make() -> None:
        assert find_runs_to_do(make_plans(request, lookup), rerun=False) == []

    parts: list[Callable[[], None]] = [make, look, lambda: close(plan, console)]
    seconds = [statistics.median(seconds_of(part) for _ in range(REPEATS)) for part in parts]
    return f"| {len(plan.runs):,} | " + " | ".join(f"{value:.2f}" for value in seconds) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=at_least(2), nargs="+", default=[100, 1000, 4000])
    parser.add_argument("--arms", type=at_least(2), default=10)
    asked = parser.parse_args()
    with measuring(Console(soft_wrap=True, highlight=False)):
        print(f"{asked.arms} arms, {EPOCHS} epochs a run, {build.count_cores()} cores; medians of {REPEATS}")
        print(HEAD)
        for num_runs in asked.runs:
            with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
                print(measure(num_runs, asked.arms), flush=True)


if __name__ == "__main__":
    main()
