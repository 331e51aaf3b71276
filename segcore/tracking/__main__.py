"""Deliver what MLflow does not have yet: `python -m segcore.tracking --deliver [RUN_FOLDER...]`.

Without the ablations' files, at any time, to whatever MLFLOW_TRACKING_URI says: an empty server gets everything.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from segcore.errors import UserError
from segcore.tracking.address import shown_uri
from segcore.tracking.backlog import Backlog, clear, find_folders, read_backlog
from segcore.tracking.store import first_line, prepare_store, tracking_client

ALL_DELIVERED, SOME_MISSED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130
# So many that were missed are named.
MAX_NAMED = 30

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def main(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN_FOLDER...]", help="runs/FINGERPRINT; all of runs/ without")
    ] = None,
    deliver: Annotated[bool, typer.Option("--deliver", help="bring MLflow up to date with the runs' folders")] = False,
) -> None:
    """Deliver to MLflow what lies in runs/ and is not there yet; MLFLOW_TRACKING_URI says where to."""
    try:
        if not deliver:
            raise UserError("nothing to do; say: python -m segcore.tracking --deliver [RUN_FOLDER...]")
        status = deliver_all(folders or [], Console(soft_wrap=True, highlight=False))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = WRONG_REQUEST
    except OSError as error:
        print(f"error: {first_line(error)}; what was delivered stays", file=sys.stderr)
        status = SOME_MISSED
    except KeyboardInterrupt:
        print("interrupted: what was delivered stays; the same command goes on from there", file=sys.stderr)
        status = INTERRUPTED
    raise SystemExit(status)


def deliver_all(paths: list[Path], console: Console) -> int:
    """Delivers these folders, or all; the exit status.  Raises UserError on a wrong request or an unusable MLflow."""
    backlog = read_backlog(find_folders(paths))
    for warning in prepare_store(must_answer=True):
        console.print(warning, style="yellow", markup=False)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(backlog.deliveries), completed=-1)
        clear(backlog, tracking_client(), lambda name: progress.update(task, advance=1, description=name, refresh=True))
    console.print("\n".join(summary(backlog)), markup=False)
    return SOME_MISSED if backlog.missed else ALL_DELIVERED


def summary(backlog: Backlog) -> list[str]:
    """What became of the backlog, in lines."""
    num_runs = backlog.whole + backlog.training
    lines = [f"MLflow at {shown_uri()} holds all there is of {num_runs} run{'s' * (num_runs != 1)}."]
    if backlog.training:
        lines.append(f"{backlog.training} of them {'is' if backlog.training == 1 else 'are'} not over yet.")
    if backlog.unbegun:
        lines.append(
            f"{backlog.unbegun} {'has' if backlog.unbegun == 1 else 'have'} not begun: there is nothing of it."
        )
    if backlog.missed:
        lines.append(f"{len(backlog.missed)} could not be delivered:")
        lines += [f"  {what}: {why}" for what, why in backlog.missed[:MAX_NAMED]]
        if len(backlog.missed) > MAX_NAMED:
            lines.append(f"  and {len(backlog.missed) - MAX_NAMED} more")
    return lines


if __name__ == "__main__":
    app()
