"""Plan an ablation, train every arm on every seed, track it in MLflow, and print what came out.

python runner.py experiments/lr_sweep.yaml --preset demo
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from segcore.errors import UserError
from segcore.execution.folder import folder_of
from segcore.execution.overview import list_ablations, show_plan
from segcore.execution.session import Launcher, Lookup, Request, Session, make_plans
from segcore.execution.terminal import results_tables
from segcore.plan import Plan, Run

FINISHED, SOME_FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def main(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE... [KEY=VALUE...]", help="ablation files, and settings to override"),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="an overlay from experiments/presets, such as demo or pets64")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="seeds instead of the file's, such as 42,43")] = None,
    only: Annotated[list[str] | None, typer.Option(help="only this arm; may be given several times")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="runs at a time")] = 1,
    launcher: Annotated[Launcher, typer.Option(help="where the runs are computed")] = Launcher.local,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the plan and its cost; train nothing")] = False,
    rerun: Annotated[bool, typer.Option("--rerun", help="train again what is finished, too")] = False,
    show_list: Annotated[bool, typer.Option("--list", help="the ablations, their questions and their state")] = False,
) -> None:
    """Train every arm of an ablation on every seed; finished runs are not trained again."""
    console = Console(soft_wrap=False)
    try:
        request = make_request(arguments or [], preset, seeds, only or [], jobs, launcher, rerun)
        if show_list:
            console.print(list_ablations(request))
            raise SystemExit(FINISHED)
        status = run(request, dry_run, console)
    except UserError as error:
        print(error, file=sys.stderr)
        status = WRONG_REQUEST
    except OSError as error:
        print(f"{error.filename or 'the system'}: {error.strerror}; what is finished is kept", file=sys.stderr)
        status = SOME_FAILED
    except KeyboardInterrupt:
        print("interrupted: finished runs are kept; the same command goes on from there", file=sys.stderr)
        status = INTERRUPTED
    raise SystemExit(status)


def make_request(
    arguments: list[str],
    preset: str | None,
    seeds: str | None,
    only: list[str],
    jobs: int,
    launcher: Launcher,
    rerun: bool,
) -> Request:
    """The command line as a request; whatever holds a `=` and is no file overrides a setting."""
    files = [Path(argument) for argument in arguments if "=" not in argument or Path(argument).is_file()]
    overrides = [argument for argument in arguments if "=" in argument and not Path(argument).is_file()]
    try:
        numbers = None if seeds is None else [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise UserError(f"--seeds {seeds}: must be whole numbers with commas between them, such as 42,43") from None
    return Request(files, overrides, preset, numbers, only, jobs, launcher, rerun)


def run(request: Request, dry_run: bool, console: Console) -> int:
    """Execute the request; the exit status."""
    if not request.files:
        raise UserError("no ablation file is given; `python runner.py --list` shows those that there are")
    lookup = Lookup(may_download=not dry_run)
    plans = make_plans(request, lookup)
    if dry_run:
        for plan in plans:
            console.print(show_plan(plan))
        return FINISHED
    session = Session(request, plans, lookup, console)
    session.prepare_data()
    session.execute()
    for plan in plans:
        console.print(results_tables(plan))
    console.print(describe_call(session.to_do), highlight=False)
    return FINISHED if all(is_finished(plan) for plan in plans) else SOME_FAILED


def describe_call(runs: Sequence[Run]) -> str:
    """What became of the runs that were to do, and where to compare them."""
    states = [folder_of(run).state for run in runs]
    ended = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    where = "" if os.environ.get("MLFLOW_TRACKING_URI") else " `mlflow ui` in this folder compares all runs."
    return f"This call: {ended or 'nothing to train, all runs were finished before'}.{where}"


def is_finished(plan: Plan) -> bool:
    """Whether every run of the plan is."""
    return all(folder_of(run).state == "finished" for run in plan.runs)


def interrupt(signum: int, frame: FrameType | None) -> None:
    """SIGTERM, or a terminal that is closed, ends a call as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    app()
