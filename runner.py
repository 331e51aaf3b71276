"""Plan an ablation, train every arm on every seed, track it in MLflow, and print what the runs say of its claims.

python runner.py experiments/lr_sweep.yaml --preset demo
"""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is begun: Ctrl-C ends the imports without a traceback

import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Annotated, NoReturn

try:
    import typer
    from rich.console import Console
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}: {sys.executable} has not the suite's packages; say: make install; source .venv/bin/activate")

from segcore.credentials import with_server
from segcore.errors import UserError
from segcore.execution.request import Launcher, Request, make_request, require_alone, require_files, require_nothing
from segcore.execution.variables import start_anew

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
    jobs: Annotated[
        int | None, typer.Option(min=1, help="runs at a time; by default 1, or what a Ray cluster takes")
    ] = None,
    launcher: Annotated[
        Launcher, typer.Option(help="where the runs are computed: on this machine, or on a Ray cluster")
    ] = Launcher.local,
    address: Annotated[
        str | None, typer.Option(help="of the Ray cluster, such as auto or HOST:6379; by default the one that is there")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the plan and its cost; train nothing")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="with --dry-run: measure the time of runs that nothing tells yet")
    ] = False,
    rerun: Annotated[bool, typer.Option("--rerun", help="train again what is finished or diverged, too")] = False,
    retries: Annotated[
        int, typer.Option(min=0, help="how often a run that failed is tried again without having got further")
    ] = 1,
    prune: Annotated[
        bool, typer.Option("--prune", help="clear what nothing needs out of runs/; with --dry-run: show it")
    ] = False,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="do not bring the report in MLflow up to date")
    ] = False,
    reproduce: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="train a run of MLflow anew and compare: an id, the start of one, a name"),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="the ablations, their questions and their state")] = False,
) -> None:
    """Train every arm of an ablation on every seed; finished runs are not trained again."""

    def act() -> int:
        request = make_request(
            arguments or [], preset, seeds, only or [], jobs, launcher, rerun, retries, not no_report, address
        )
        return answer(request, Wish(show_list, dry_run, calibrate, prune, reproduce), Console(soft_wrap=False))

    raise SystemExit(in_words(act))


@dataclass(frozen=True)
class Wish:
    """What is wanted in place of training, or of training an ablation."""

    show_list: bool
    dry_run: bool
    calibrate: bool
    prune: bool
    reproduce: str | None


def in_words(act: Callable[[], int]) -> int:
    """The exit status of what is done; what goes wrong, in words for people."""
    try:
        take_signals()
        return act()
    except UserError as error:
        print(error, file=sys.stderr)
        return WRONG_REQUEST
    except OSError as error:
        print(f"{error.filename or 'the system'}: {error.strerror or error}; what is finished is kept", file=sys.stderr)
        return SOME_FAILED
    except KeyboardInterrupt:
        print(words_of_interruption(), file=sys.stderr)
        return INTERRUPTED


def answer(request: Request, wish: Wish, console: Console) -> int:
    """Do what is asked for; the exit status.  Raises UserError."""
    require_sense(request, wish)
    if wish.prune:
        return clear(console, wish.dry_run)
    # Imported here, because it takes seconds: `--help` and a mistyped command are answered at once.
    if wish.show_list or (wish.dry_run and wish.reproduce is None):
        with left_at_once():
            import call

        return call.list_all(request, console) if wish.show_list else call.look_ahead(request, wish.calibrate, console)

    with left_at_once():
        from segcore.execution.nursery import open_nursery

    if request.launcher == Launcher.ray:
        with left_at_once():
            import call

        return call.run_on_ray(request, console)
    with open_nursery() as nursery:  # before anything is computed here, and beside the imports that are left
        with left_at_once():
            import call

        if wish.reproduce is not None:
            return call.reproduce(wish.reproduce, request, wish.dry_run, console, nursery)
        return call.run(request, console, nursery)


def require_sense(request: Request, wish: Wish) -> None:
    """Raise UserError where options do not go together."""
    if wish.reproduce is not None:
        require_alone(request, wish.show_list or wish.calibrate or wish.prune)
    elif wish.prune:
        require_nothing(request, wish.show_list or wish.calibrate)
    elif not wish.show_list:
        require_files(request)
    if wish.calibrate and not wish.dry_run:
        raise UserError("--calibrate goes with --dry-run; a run needs no calibration")


def clear(console: Console, dry_run: bool) -> int:
    """Clear what nothing needs out of `runs/`, or show it; the exit status."""
    from segcore.execution.pruning import prune

    console.print(prune(is_only_shown=dry_run), highlight=False)
    return FINISHED


@contextlib.contextmanager
def left_at_once() -> Iterator[None]:
    """While entered, a signal that ends a call ends the process: in an import, libraries make other errors of it."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def end(signum: int, frame: FrameType | None) -> None:
        try:
            os.write(sys.stderr.fileno(), f"{words_of_interruption()}\n".encode())
        finally:  # also where nobody reads it any more
            os._exit(INTERRUPTED)

    ours = [number for number, handler in handlers.items() if callable(handler)]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, handlers[number])


def words_of_interruption() -> str:
    """What to say of a call that ends before its time."""
    if "--dry-run" in sys.argv or "--list" in sys.argv:
        return "interrupted; nothing was begun"
    return f"interrupted; to go on from what is saved{after_rerun()}: {command_to_go_on()}"


def command_to_go_on() -> str:
    """This call's command; without --rerun, which would begin anew what has just been begun."""
    return with_server(shlex.join(["python", *(argument for argument in sys.argv if argument != "--rerun")]))


def after_rerun() -> str:
    """What to know where the command that goes on is not the one that was given."""
    return " (with --rerun again, all runs begin anew)" if "--rerun" in sys.argv else ""


def take_signals() -> None:
    """From now on Ctrl-C, SIGTERM and a terminal that is closed are interruptions; in a program of its own only."""
    if __name__ != "__main__":
        return
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)


def interrupt(signum: int, frame: FrameType | None) -> None:
    """SIGTERM, or a terminal that is closed, ends a call as Ctrl-C does."""
    raise KeyboardInterrupt


def leave(end: SystemExit) -> NoReturn:
    """End this process at once: to take down all that was imported, module by module, takes another second.

    What it prints and its exit status are those of Python's own end: a code that is no number is an error's text.
    """
    status, text = (end.code or 0, "") if end.code is None or isinstance(end.code, int) else (1, f"{end.code}\n")
    logging.shutdown()
    for stream, rest in ((sys.stdout, ""), (sys.stderr, text)):
        with contextlib.suppress(BrokenPipeError):  # nobody reads any more
            stream.write(rest)
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    start_anew()
    try:
        app()
    except SystemExit as end:
        leave(end)
