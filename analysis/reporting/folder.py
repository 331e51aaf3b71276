"""A folder that is made aside and then moved into place, so that an error leaves what was there before.

A list in the folder names the report's own files.  Whatever else lies there is the user's, and is never touched.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

LIST = ".report-contents"
HEADER = "# Files of a report by `python -m analysis.report`, which replaces these and no others:"
# All that a report ever writes: a list that names anything else is not ours.
OWN = re.compile(
    r"index\.html|report\.md|methods\.tex|deviations\.tex|tables/[^/\n]+\.tex|figures/(?!\.)[^/\n]+\.(?:png|pdf)"
)


class FolderError(Exception):
    """A folder that is not ours to replace; the message says what to do."""


@contextmanager
def replaced(output: Path, is_stale: Callable[[str], bool] = lambda name: True) -> Iterator[Path]:
    """Yields an empty folder to write into; its files move into `output` when the block ends without an error.

    is_stale: which files of the report that is there now are not kept, by name relative to the folder.  Raises
    FolderError where `output` holds files but no report, or a user's file where the report's own has to go, and OSError
    where it cannot be written.
    """
    output = output.resolve()
    own = own_files(output)
    is_new = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".report-", dir=output))
    try:
        yield aside
        made = sorted(path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file())
        kept = [name for name in own if name not in made and not is_stale(name) and (output / name).is_file()]
        refuse_others(output, made, own)
        # Both generations first: should the moving be cut short, the next report still knows what is whose.
        write_list(output, {*own, *made})
        move(aside, output, made)
        for name in set(own) - {*made, *kept}:
            (output / name).unlink(missing_ok=True)
        write_list(output, {*made, *kept})
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if is_new and not any(output.iterdir()):
            output.rmdir()


def own_files(output: Path) -> list[str]:
    """The files of the report that stands there; none where there is nothing yet."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return []
    if not output.is_dir():
        raise FolderError("is a file; name a folder that is new or empty")
    try:
        header, *names = (output / LIST).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError, ValueError):
        header, names = "", []
    if header != HEADER or not all(OWN.fullmatch(name) for name in names):
        raise FolderError("holds other files than a report; name a folder that is new or empty")
    return names


def refuse_others(output: Path, made: Sequence[str], own: Sequence[str]) -> None:
    """Raises FolderError where something that is not the report's stands where one of its files has to go."""
    for name in made:
        path = output / name
        is_in_the_way = not path.parent.is_dir() and path.parent.exists()
        if is_in_the_way or path.is_dir() or (name not in own and (path.exists() or path.is_symlink())):
            taken = path.parent if is_in_the_way else path
            raise FolderError(
                f"has a {taken.relative_to(output)} that is not the report's, where the report writes its own; "
                "name another folder"
            )


def move(aside: Path, output: Path, names: Sequence[str]) -> None:
    """Moves files into the folder, over those of the same name."""
    for name in names:
        (output / name).parent.mkdir(exist_ok=True)
        (aside / name).replace(output / name)


def write_list(output: Path, names: set[str]) -> None:
    """Writes down which files are the report's."""
    (output / LIST).write_text("".join(f"{line}\n" for line in (HEADER, *sorted(names))), encoding="utf-8")
