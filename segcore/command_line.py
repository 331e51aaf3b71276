"""What `python -m segcore.evaluate` and `python -m segcore.predict` have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import typer

from segcore.config import Layer, Problems, RunConfig, resolve
from segcore.errors import UserError

EXIT_REQUEST, EXIT_INTERRUPTED = 2, 130


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn what the user can mend into a message on stderr and exit status 2, and Ctrl-C into 130."""
    try:
        yield
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_REQUEST) from None
    except torch.OutOfMemoryError:
        typer.echo("error: out of GPU memory; use the CPU, or a smaller data.image_size in training", err=True)
        raise typer.Exit(EXIT_REQUEST) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def locate_checkpoint(run: str | None, checkpoint: Path | None) -> Path:
    """The checkpoint file that --run or --checkpoint means.  Raises UserError unless exactly one of them is given."""
    if (run is None) == (checkpoint is None):
        raise UserError("give either --run RUN (an MLflow run) or --checkpoint FILE (a best.safetensors)")
    if run is None:
        assert checkpoint is not None
        return checkpoint
    # MLflow takes seconds to import, and a checkpoint file does not need it.
    from segcore.tracking import open_run

    return Path(open_run(run))


def reconfigure(config: RunConfig, source: Path, changes: Layer) -> RunConfig:
    """The checkpoint's settings with changes over them.  Raises UserError with everything that is wrong."""
    problems = Problems()
    settings = {key: value for key, value in config.flat().items() if key != "seed"}
    changed = resolve([Layer(str(source), settings), changes], config.seed, problems)
    problems.raise_any()
    assert changed is not None
    return changed


def check_output(output: Path) -> None:
    """Raises UserError where the output folder cannot be one; makes nothing."""
    existing = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"--output {shown(output)}: {shown(existing)} is a file; name a folder")


def replacement_note(output: Path) -> str:
    """What happens to the files of an earlier call, as a clause; empty where the folder holds none."""
    return "; files of the same names were replaced" if output.is_dir() and any(output.iterdir()) else ""


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """The output folder, made if it is missing, and UserError where the system refuses to write into it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"--output {shown(output)}: cannot be written ({reason}); name another folder") from None


def shown(path: Path) -> str:
    """The path as text that any terminal takes, also where the file's name is not valid text."""
    return str(path).encode("utf-8", "backslashreplace").decode()
