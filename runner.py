"""Plan an ablation, train every arm on every seed, track it in MLflow, and print what the runs say of its claims.

python runner.py experiments/lr_sweep.yaml --preset demo
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console

from analysis.definition import Definition, parse_definition
from analysis.planning import outlook
from analysis.terminal import show_outlooks, show_verdicts
from analysis.verdicts import judge
from segcore import tracking
from segcore.errors import UserError
from segcore.execution.calibration import calibrate_unknown
from segcore.execution.folder import folder_of
from segcore.execution.listing import find_file, list_ablations
from segcore.execution.overview import describe_whole, show_plan
from segcore.execution.pace import read_paces
from segcore.execution.session import (
    Launcher,
    Lookup,
    Request,
    Session,
    describe_experiment,
    find_runs_to_do,
    make_plans,
)
from segcore.execution.standing import seeds_after, standing_digest, standing_rows
from segcore.execution.terminal import results_tables
from segcore.plan import Plan, Run, digest

FINISHED, SOME_FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def main(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE... [KEY=VALUE...]", help="ablation files or their bare names, and settings to override"
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="an overlay from experiments/presets, such as demo or pets64")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="seeds instead of the file's, such as 42,43")] = None,
    only: Annotated[list[str] | None, typer.Option(help="only this arm; may be given several times")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="runs at a time")] = 1,
    launcher: Annotated[Launcher, typer.Option(help="where the runs are computed")] = Launcher.local,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the plan and its cost; train nothing")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="with --dry-run: measure the time of runs that nothing tells yet")
    ] = False,
    rerun: Annotated[bool, typer.Option("--rerun", help="train again what is finished, too")] = False,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="do not bring the report in MLflow up to date")
    ] = False,
    show_list: Annotated[bool, typer.Option("--list", help="the ablations, their questions and their state")] = False,
) -> None:
    """Train every arm of an ablation on every seed; finished runs are not trained again."""
    console = Console(soft_wrap=False)
    try:
        request = make_request(arguments or [], preset, seeds, only or [], jobs, launcher, rerun, not no_report)
        if show_list:
            console.print(list_ablations(request))
            raise SystemExit(FINISHED)
        if calibrate and not dry_run:
            raise UserError("--calibrate goes with --dry-run; a run needs no calibration")
        status = look_ahead(request, calibrate, console) if dry_run else run(request, console)
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
    report: bool,
) -> Request:
    """The command line as a request; whatever holds a `=` and is no file overrides a setting."""
    files = [find_file(argument) for argument in arguments if "=" not in argument or Path(argument).is_file()]
    overrides = [argument for argument in arguments if "=" in argument and not Path(argument).is_file()]
    try:
        numbers = None if seeds is None else [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise UserError(f"--seeds {seeds}: must be whole numbers with commas between them, such as 42,43") from None
    return Request(files, overrides, preset, numbers, only, jobs, launcher, rerun, report)


def require_files(request: Request) -> None:
    """Raise UserError where nothing is asked for."""
    if not request.files:
        raise UserError("no ablation file is given; `python runner.py --list` shows those that there are")


def look_ahead(request: Request, calibrate: bool, console: Console) -> int:
    """Show what the request would do, cost, and be able to decide; the exit status."""
    require_files(request)
    lookup = Lookup(may_download=False)
    plans = make_plans(request, lookup)
    paces = read_paces()
    if calibrate:
        paces = calibrate_unknown(find_runs_to_do(plans, request.rerun), paces, lookup, console)
    for plan in plans:
        console.print(show_plan(plan, request, lookup, paces))
        epochs = max(config.trainer.epochs for config, _ in plan.arms.values())
        console.print(show_outlooks(outlook(definition_of(plan), seeds_after(plan), frame_of(plan), epochs)))
    console.print(describe_whole(plans, request, lookup, paces), highlight=False)
    return FINISHED


def run(request: Request, console: Console) -> int:
    """Execute the request and show what came out; the exit status."""
    require_files(request)
    lookup = Lookup()
    plans = make_plans(request, lookup)
    session = Session(request, plans, lookup, console)
    session.prepare_data()
    session.execute()
    for plan in plans:
        console.print(results_tables(plan))
        console.print(show_verdicts(judge(definition_of(plan), frame_of(plan))))
        if request.report and session.delivered:
            report(plan, console)
    console.print(describe_call(session.to_do), highlight=False)
    return FINISHED if all(is_finished(plan) for plan in plans) else SOME_FAILED


def definition_of(plan: Plan) -> Definition:
    """The ablation's definition in the analysis's terms."""
    definition = json.loads(describe_experiment(plan.ablation).definition)
    return parse_definition(definition, plan.ablation.source)


def frame_of(plan: Plan) -> pd.DataFrame:
    """How the ablation stands: arm, seed, state, reason and metrics of each run, from the runs' folders."""
    return pd.DataFrame(standing_rows(plan))


def report(plan: Plan, console: Console) -> None:
    """Keep the ablation's report in MLflow, unless nothing has changed since the last; a failure is told, no more."""
    experiment = plan.ablation.experiment
    try:
        client = tracking.tracking_client()
        source = digest([standing_digest(plan), code_of_analysis()])
        if not tracking.is_summary_of(experiment, source, client):
            # Not at the top: its figures take seconds to import, and most calls have nothing new to report.
            from analysis.report import write_report

            with console.status("writing the report"), tempfile.TemporaryDirectory() as place:
                folder = Path(place) / "report"
                sentences = write_report(client, [experiment], folder, plan=plan.plan)
                tracking.deliver_summary(experiment, folder, sentences, source, client)
    # MLflow, its database and its artifact store raise errors of many kinds; the runs are finished all the same.
    except Exception as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        console.print(f"The report of {experiment} was not made: {said}", style="yellow", markup=False)
    else:
        console.print(f"The report is in MLflow: run `report` of experiment {experiment}.", highlight=False)


def code_of_analysis() -> str:
    """A hash of what makes the report, so that a newer version makes it anew."""
    folder = Path(__file__).parent / "analysis"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return digest([(str(path.relative_to(folder)), path.read_bytes().hex()) for path in files])


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
