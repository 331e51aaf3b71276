"""Which pictures a prediction is for, what its files are called, and where the truth may lie."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segcore.command_line import shown
from segcore.data.folders import SUFFIXES
from segcore.errors import UserError


@dataclass(frozen=True)
class Job:
    """One picture to predict: its file, the name that its outputs begin with, and the file of its truth if any."""

    source: Path
    name: str
    truth: Path | None


def find_pictures(paths: Iterable[Path]) -> list[Path]:
    """The files, and the pictures that lie directly in the folders, by their ending and in the order of their names.

    A file that is named twice comes once.  Raises UserError where a path does not exist or a folder holds no picture.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if is_picture(file))
            if not files:
                endings = " ".join(SUFFIXES)
                raise UserError(f"{shown(path)}: no picture lies in this folder itself (looked for {endings})")
        elif path.exists():
            files = [path]
        else:
            raise UserError(f"{shown(path)}: there is no such file or folder")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def is_picture(file: Path) -> bool:
    """Whether a file in a folder is taken for a picture: by its ending, and not hidden."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def plan_jobs(sources: Sequence[Path], truth: Path | None) -> list[Job]:
    """A job a picture, no two with the same name: a later `cat` becomes `cat_2` unless a picture is called so.

    Raises UserError where the folder of truths is missing or has none for any of the pictures.
    """
    if truth is not None and not truth.is_dir():
        raise UserError(f"--truth {shown(truth)}: there is no such folder")
    # Some file systems take Cat and cat for the same.
    stems = {source.stem.casefold() for source in sources}
    used: set[str] = set()
    jobs = []
    for source in sources:
        name, number = source.stem, 1
        while name.casefold() in used or (number > 1 and name.casefold() in stems):
            number += 1
            name = f"{source.stem}_{number}"
        used.add(name.casefold())
        jobs.append(Job(source, name, find_truth(source, truth)))
    if truth is not None and all(job.truth is None for job in jobs):
        raise UserError(f"--truth {shown(truth)}: no mask there has the name of a picture, such as {jobs[0].name}.png")
    return jobs


def find_truth(source: Path, folder: Path | None) -> Path | None:
    """The mask of the same name, PNG before other formats; None where there is none."""
    if folder is None:
        return None
    candidates = (folder / f"{source.stem}{suffix}" for suffix in (".png", *SUFFIXES))
    return next((path for path in candidates if path.is_file()), None)


def check_folders(output: Path, jobs: Sequence[Job]) -> None:
    """Raises UserError where the outputs would mix with the pictures: the next call would take them for pictures."""
    for job in jobs:
        for path in filter(None, (job.source, job.truth)):
            if path.resolve().parent == output.resolve():
                raise UserError(f"--output {shown(output)}: {shown(path)} lies there; name another folder")
