"""How long runs take: from finished runs of the same kind of work, or from a measurement of it."""

import math
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from yaml import YAMLError

from segcore.build import resolve_device, resolve_precision, resolve_threads
from segcore.config import RunConfig
from segcore.execution import folder as folders
from segcore.execution.environment import describe_device
from segcore.execution.folder import RunFolder
from segcore.plan import Run

# Below `runs/`: measured paces, the newest last.
TIMINGS = "timings"


@dataclass(frozen=True)
class Kind:
    """What the time and memory of a run depend on, beside the number of its images and epochs."""

    model: str
    image_size: int
    batch_size: int
    evaluation_batch_size: int | str
    precision: str
    device: str
    threads: int
    host: str

    def __str__(self) -> str:
        size = f"{self.image_size} x {self.image_size}"
        return f"{self.model} at {size}, batch {self.batch_size}, {self.precision}, {self.device}"


@dataclass(frozen=True)
class Sizes:
    """Images of the three parts of a dataset."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Pace:
    """Seconds an image in training, in the validation of an epoch and in testing; fixed: of everything else.

    memory_gib: the most that the training held; None where that is not known.
    """

    training: float
    validation: float
    testing: float
    fixed: float
    memory_gib: float | None

    def train_seconds(self, epochs: int, sizes: Sizes) -> float:
        """Training and validation over all epochs."""
        return epochs * (sizes.train * self.training + sizes.validation * self.validation)

    def other_seconds(self, sizes: Sizes) -> float:
        """Start-up, the threshold's choice, testing, pictures, the model's export."""
        return (sizes.validation + sizes.test) * self.testing + self.fixed


def kind_of(config: RunConfig) -> Kind:
    """The kind of work that a run is on this machine."""
    device = resolve_device(config)
    return Kind(
        model=config.model.name,
        image_size=config.data.image_size,
        batch_size=config.data.batch_size,
        evaluation_batch_size=config.evaluation.batch_size,
        precision=resolve_precision(config, device),
        device=describe_device(device),
        threads=resolve_threads(config),
        host=platform.node(),
    )


@dataclass(frozen=True)
class Paces:
    """What is known of the pace of each kind of work: of finished runs, and as it was measured."""

    finished: Mapping[Kind, Sequence[Pace]]
    measured: Mapping[Kind, Pace]

    def of(self, kind: Kind) -> Sequence[Pace]:
        """Of finished runs where there are any, else the measured one; empty where nothing is known."""
        measured = self.measured.get(kind)
        return self.finished.get(kind) or ([measured] if measured else [])

    def memory_gib(self, kind: Kind) -> float | None:
        """The most memory that a run of this kind held."""
        return max((pace.memory_gib for pace in self.of(kind) if pace.memory_gib), default=None)

    def seconds_of(self, config: RunConfig, sizes: Sizes, trains: bool = True) -> float | None:
        """The time of a run, the median of what is known; None where nothing is.

        trains: false where the run takes over a training and only evaluates it.
        """
        epochs = config.trainer.epochs if trains else 0
        known = [pace.train_seconds(epochs, sizes) + pace.other_seconds(sizes) for pace in self.of(kind_of(config))]
        return statistics.median(known) if known else None


def read_paces() -> Paces:
    """What the folders in `runs/` and the measurements tell."""
    finished: dict[Kind, list[Pace]] = {}
    for path in sorted(folders.RUNS.glob("*/training.json")):
        kind, pace = read_pace(RunFolder(path.parent)) or (None, None)
        if kind is not None and pace is not None:
            finished.setdefault(kind, []).append(pace)
    return Paces(finished, read_timings())


def read_pace(folder: RunFolder) -> tuple[Kind, Pace] | None:
    """Kind and pace of a finished run; None where the folder does not tell: of an older version, or no training."""
    state = folder.read("state")
    epochs: list[Any] = [line.get("metrics") for line in folder.lines("epochs")]
    if state.get("state") != "finished" or not epochs:
        return None
    try:
        kind = kind_in(folder.settings(), folder.read("environment"))
        sizes = Sizes(**folder.read("data")["sizes"])
        training = math.fsum(sizes.train / metrics["images_per_second"] for metrics in epochs)
        train_seconds = math.fsum(metrics["epoch_seconds"] for metrics in epochs)
        rest = state["ended"] - state["started"] - train_seconds
        memory = folder.read("training")["peak_memory_gib"]
    # Settings that are damaged or gone, too.
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, OSError, RecursionError, YAMLError):
        return None
    if not rest >= 0 or not min(sizes.train, sizes.validation, sizes.test) > 0:  # of another run; of a damaged file
        return None
    validation = max(0.0, train_seconds - training) / len(epochs) / sizes.validation
    # The folder does not tell testing from the rest; the validation of an epoch is much the same work.
    testing = min(validation, rest / (sizes.validation + sizes.test))
    fixed = rest - testing * (sizes.validation + sizes.test)
    return kind, Pace(training / len(epochs) / sizes.train, validation, testing, fixed, memory)


def kind_in(settings: Mapping[str, Any], environment: Mapping[str, Any]) -> Kind:
    """The kind of work that a run was.  Raises KeyError where an older version did not note something."""
    return Kind(
        model=settings["model.name"],
        image_size=settings["data.image_size"],
        batch_size=settings["data.batch_size"],
        evaluation_batch_size=settings["evaluation.batch_size"],
        precision=settings["trainer.precision"],
        device=environment["device"],
        threads=environment["threads"],
        host=environment["host"],
    )


def read_timings() -> dict[Kind, Pace]:
    """The measurements that are kept; none where the file is missing or of another version."""
    entries = RunFolder(folders.RUNS).read(TIMINGS).get("timings", [])
    try:
        return {Kind(**entry["kind"]): Pace(**entry["pace"]) for entry in entries}
    except (KeyError, TypeError):
        return {}


def keep_timing(kind: Kind, pace: Pace) -> None:
    """Add a measurement to those that are kept, in place of an earlier one of the same kind."""
    timings = {other: its_pace for other, its_pace in read_timings().items() if other != kind} | {kind: pace}
    entries = [{"kind": asdict(kind), "pace": asdict(pace)} for kind, pace in timings.items()]
    RunFolder(folders.RUNS).write(TIMINGS, {"timings": entries})


def seconds_of_each(
    runs: Iterable[Run], paces: Paces, sizes: Callable[[RunConfig], Sizes], trained: Iterable[str] = ()
) -> dict[str, float | None]:
    """The time of each run by its fingerprint; a training that several runs share is the first one's.

    trained: fingerprints of trainings that can be taken over.
    """
    taken = set(trained)
    seconds = {}
    for run in runs:
        trains = run.training_fingerprint not in taken
        seconds[run.fingerprint] = paces.seconds_of(run.config, sizes(run.config), trains)
        taken.add(run.training_fingerprint)
    return seconds


def finished_trainings() -> set[str]:
    """Fingerprints of the trainings that a run can take over."""
    finished = (RunFolder(path.parent) for path in folders.RUNS.glob("*/run.json"))
    return {folder.read("run").get("training_fingerprint", "") for folder in finished if folder.state == "finished"}
