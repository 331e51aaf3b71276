"""What the command line asks for, understood without torch or MLflow."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from segcore.ablation import relative
from segcore.errors import UserError
from segcore.execution.variables import PROJECT
from segcore.wording import nearest

EXPERIMENTS = PROJECT / "experiments"
# Such as trainer.epochs: a setting without its value.
SETTING = re.compile(r"[a-z]+\.[a-z_]+(?<!\.yaml)(?<!\.yml)")


class Launcher(StrEnum):
    """Where runs are computed: in processes on this machine, or as tasks of a Ray cluster."""

    local = "local"
    ray = "ray"


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    jobs: runs at a time; 0, on Ray alone: as many as the cluster takes.  address: of a Ray cluster.
    """

    files: Sequence[Path]
    overrides: Sequence[str] = ()
    preset: str | None = None
    seeds: Sequence[int] | None = None
    only: Sequence[str] = ()
    jobs: int = 1
    launcher: Launcher = Launcher.local
    rerun: bool = False
    retries: int = 1
    report: bool = True
    address: str | None = None


def make_request(
    arguments: list[str],
    preset: str | None,
    seeds: str | None,
    only: list[str],
    jobs: int | None,
    launcher: Launcher,
    rerun: bool,
    retries: int,
    report: bool,
    address: str | None = None,
) -> Request:
    """The command line as a request; whatever holds a `=` and is no file overrides a setting.

    jobs: None where it is not said.  Raises UserError.
    """
    if address is not None and launcher != Launcher.ray:
        raise UserError(f"--address {address}: names a Ray cluster, so it goes with --launcher ray")
    jobs = jobs or (0 if launcher == Launcher.ray else 1)
    files = [find_file(argument) for argument in arguments if "=" not in argument or is_file(Path(argument))]
    overrides = [argument for argument in arguments if "=" in argument and not is_file(Path(argument))]
    try:
        numbers = None if seeds is None else [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise UserError(f"--seeds {seeds}: must be whole numbers with commas between them, such as 42,43") from None
    return Request(files, overrides, preset, numbers, only, jobs, launcher, rerun, retries, report, address)


def require_files(request: Request) -> None:
    """Raise UserError where nothing is asked for."""
    if not request.files:
        raise UserError("no ablation file is given; `python runner.py --list` shows those that there are")


def require_alone(request: Request, has_others: bool) -> None:
    """Raise UserError where --reproduce comes with what belongs to ablations.

    has_others: whether --list or --calibrate was given.
    """
    chosen = (
        request.preset,
        request.seeds,
        request.only,
        request.rerun,
        request.jobs > 1,
        not request.report,
        has_others,
        request.launcher != Launcher.local,
    )
    if request.files or any(chosen):
        raise UserError(
            "--reproduce RUN goes with KEY=VALUE, --retries and --dry-run alone: the run brings its settings and its "
            "seed, and no ablation is run beside it"
        )


def require_nothing(request: Request, has_others: bool) -> None:
    """Raise UserError where --prune comes with anything but --dry-run: it is about all of `runs/`."""
    if request != Request([], overrides=[], only=[]) or has_others:
        raise UserError("--prune takes no file and no option but --dry-run: it looks through all of runs/")


def is_file(path: Path, ask: Callable[[Path], bool] = Path.is_file) -> bool:
    """Whether a path is a file's, or what else is asked; of one that no file can have, such as a too long name, no."""
    try:
        return ask(path)
    except OSError:
        return False


def find_file(argument: str) -> Path:
    """The ablation file that an argument of the command line means: a path, or the bare name of one in `experiments/`.

    Raises UserError where there is no such file.
    """
    path = Path(argument)
    if is_file(path):
        return path
    names = {file.stem: relative(file) for file in EXPERIMENTS.glob("*.yaml")}
    if argument in names:
        return names[argument]
    if is_file(path, Path.is_dir):
        raise UserError(f"{argument}: is a folder, and not an ablation file")
    if SETTING.fullmatch(argument):
        raise UserError(f"{argument}: there is no such file; a setting needs its value: {argument}=VALUE")
    raise UserError(f"{argument}: there is no such file{nearest(path.stem, names)}")
