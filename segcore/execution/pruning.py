"""`runner.py --prune`: what in `runs/` nothing needs any more, found and removed."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from segcore.execution import folder as folders
from segcore.execution.claims import Claims
from segcore.execution.folder import REPLACED, REPRODUCTIONS, RunFolder
from segcore.training_state import KEPT, state_files


@dataclass(frozen=True)
class Leftover:
    """A file or folder that nothing needs.  what: its kind, as people say it."""

    path: Path
    what: str

    @property
    def size(self) -> int:
        """Bytes; of a link its own."""
        is_folder = self.path.is_dir() and not self.path.is_symlink()
        inside = [path for path in self.path.rglob("*") if path.is_symlink() or path.is_file()] if is_folder else []
        return sum(path.lstat().st_size for path in (inside if is_folder else [self.path]))


def prune(*, is_only_shown: bool) -> Group:
    """Remove what nothing needs, unless it is only to be shown, and return a table of it.

    A run that somebody is at work on is left alone, and so are an earlier attempt that MLflow does not hold whole, and
    a folder that cannot be read or written, of which the reason is told.
    """
    rows: dict[str, list[int]] = {}
    unusable: list[str] = []
    busy, mlflow = 0, Holdings()
    paths = [path for pattern in ("*", f"{REPRODUCTIONS}/*") for path in folders.RUNS.glob(f"{pattern}/run.json")]
    for path in sorted(paths):
        folder = RunFolder(path.parent)
        try:
            claim = Claims().take(folder)
            if claim is None:
                busy += 1
                continue
            try:
                for leftover in find_leftovers(folder, mlflow):
                    size = leftover.size
                    if not is_only_shown:
                        remove(leftover.path)
                    rows.setdefault(leftover.what, []).append(size)
            finally:
                claim.release()
        except OSError as error:
            unusable.append(f"{error.filename or folder.path}: {error.strerror or error}")
    return describe(rows, busy, unusable, is_only_shown)


def find_leftovers(folder: RunFolder, mlflow: "Holdings") -> Iterator[Leftover]:
    """What a run has that neither its continuation, nor MLflow, nor any ablation needs."""
    ended = folder.state in ("finished", "diverged")
    states = state_files(folder.states)
    if ended and folder.states.is_dir():
        yield Leftover(folder.states, "checkpoints of runs that have ended")
    elif folder.states.is_dir():
        kept = set(states[:KEPT])
        yield from (Leftover(path, "parts of files") for path in folder.states.iterdir() if path not in kept)
    yield from (Leftover(path, "parts of files") for path in folder.path.glob("*.part"))
    yield from (Leftover(path, "parts of files") for path in folder.path.glob(".*.part"))
    if folder.state == "finished":
        attempts = folder.path.parent / REPLACED
        # Reproductions are files here and nothing else.
        is_local = folder.path.parent.name == REPRODUCTIONS
        earlier = (RunFolder(path) for path in attempts.glob(f"{folder.path.name}-*"))
        yield from (
            Leftover(attempt.path, "attempts that a later one has replaced")
            for attempt in earlier
            if is_local or is_empty(attempt) or mlflow.has(attempt)
        )


def is_empty(attempt: RunFolder) -> bool:
    """Whether no worker came to begin an attempt: there is nothing of one."""
    files = (attempt.path / name for name in ("state.json", "training.json", "results.json", "epochs.jsonl"))
    made = (path for place in (attempt.states, attempt.artifacts, attempt.model) for path in place.rglob("*"))
    return not any(path.exists() for path in (*files, attempt.checkpoint, *made))


class Holdings:
    """What MLflow holds; nothing is delivered for this, and no database made.  Where it does not answer: nothing."""

    def __init__(self) -> None:
        self.is_away = False

    def has(self, attempt: RunFolder) -> bool:
        """Whether MLflow holds all of an attempt."""
        # Not at the top: its libraries take seconds, and most calls find no earlier attempt.
        from segcore import tracking
        from segcore.tracking.store import impatient, is_unanswered

        if self.is_away:
            return False
        try:
            with impatient():
                return tracking.holds_all_of(attempt.path)
        # A server that is away, and whatever else MLflow or its database raise: the attempt stays.
        except Exception as error:
            self.is_away = is_unanswered(error)
            return False


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def describe(rows: dict[str, list[int]], busy: int, unusable: list[str], is_only_shown: bool) -> Group:
    """What was found, by kind."""
    lines: list[Table | Text] = []
    if rows:
        table = Table(box=None, pad_edge=False)
        table.add_column("what")
        for column in ("number", "MiB"):
            table.add_column(column, justify="right")
        for what, sizes in rows.items():
            table.add_row(what, str(len(sizes)), f"{sum(sizes) / 2**20:,.1f}")
        lines.append(table)
    total = sum(sum(sizes) for sizes in rows.values()) / 2**20
    done = "Would be removed" if is_only_shown else "Removed"
    lines.append(Text(f"{done}: {total:,.1f} MiB in {folders.RUNS}/." if rows else "Nothing to remove."))
    if busy:
        runs, them = ("run was", "it") if busy == 1 else ("runs were", "them")
        lines.append(Text(f"{busy} {runs} left alone: somebody is at work on {them}."))
    lines += [Text(f"left alone: {reason}") for reason in unusable]
    return Group(*lines)
