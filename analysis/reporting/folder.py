"""A folder that is made aside and then put in its place: either all of a report is there, or the one before.

A list in the folder names the report's own files.  Whatever else lies there is the user's, and stays.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LIST = "contents.txt"


class FolderError(Exception):
    """A folder that is not ours to replace; the message says what to do."""


@contextmanager
def replaced(output: Path, is_stale: Callable[[str], bool] = lambda name: True) -> Iterator[Path]:
    """Yields an empty folder to write into; it becomes `output` when the block ends without an error.

    is_stale: which files of the report that is there now are not kept, by name relative to the folder.  Raises
    FolderError where `output` holds files but no report, and OSError where it cannot be written.
    """
    output = output.resolve()
    own = own_files(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        yield aside
        made = sorted(path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file())
        kept = [name for name in own if name not in made and not is_stale(name) and (output / name).is_file()]
        copy_others(output, aside, leave_out=set(own) - set(kept))
        (aside / LIST).write_text("".join(f"{name}\n" for name in sorted([*made, *kept])), encoding="utf-8")
        aside.chmod(output.stat().st_mode & 0o777 if output.exists() else 0o755)
        swap(aside, output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def own_files(output: Path) -> list[str]:
    """The files of the report that stands there; none where there is nothing yet."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return []
    if not (output / LIST).is_file():
        kind = "holds other files than a report" if output.is_dir() else "is a file"
        raise FolderError(f"{kind}; name a folder that is new or empty")
    return (output / LIST).read_text(encoding="utf-8").splitlines()


def copy_others(output: Path, aside: Path, leave_out: set[str]) -> None:
    """Copies what is not to be replaced; a file of the new report goes before an old one of that name."""
    for path in sorted(output.rglob("*")) if output.exists() else ():
        name = path.relative_to(output)
        target = aside / name
        if path.is_file() and name.as_posix() not in (*leave_out, LIST) and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def swap(aside: Path, output: Path) -> None:
    """Puts the new folder in the old one's place."""
    if not output.exists():
        aside.rename(output)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{output.name}-old-", dir=output.parent))
    output.rename(old)
    try:
        aside.rename(output)
    except OSError:
        old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)
