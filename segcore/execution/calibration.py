"""A run in miniature, to learn how long real ones take: `python -m segcore.execution.calibration FOLDER`.

The worker's own training, evaluation and report on random images, one training step an epoch.  It tells seconds an
image and the seconds of everything else; `segcore.execution.pace` extrapolates them.  Imports do not
count: those of real runs are made once a call, beside the runner's own.

Against real runs that followed at once (`--preset demo execution.threads=1`, two cores that did other work too):
50, 42 and 188 s calibrated, 46, 50 and 159 s real; peak memory 1.47, 1.49 and 1.47 GiB, and 1.44, 1.47 and 1.48.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.text import Text

from segcore import build
from segcore.config import RunConfig, nest
from segcore.data import Part, PreparedData, pack
from segcore.execution import worker
from segcore.execution.costs import memory_needed, unknown_kinds
from segcore.execution.folder import RunFolder, make_runs_folder
from segcore.execution.jobs import explain_death
from segcore.execution.keeping import Keeper
from segcore.execution.pace import Pace, Paces, Sizes, keep_timing, kind_of, read_timings
from segcore.execution.parts import write_environment
from segcore.execution.planning import Lookup
from segcore.execution.reporting import evaluate_part, export_model, report_results
from segcore.execution.stopping import Stop
from segcore.execution.totals import peak_memory_gib, training_metrics
from segcore.execution.variables import worker_environment
from segcore.plan import Run
from segcore.tracking.exporting import rehearse

# Training goes on for so long, and for so many epochs at least; the first warms up and tells nothing of the others.
SECONDS = 8.0
LEAST_EPOCHS = 3
MOST_EPOCHS = 10_000


class CalibrationError(Exception):
    """The run in miniature failed; the message says why."""


def calibrate(config: RunConfig, sizes: Sizes) -> Pace:
    """The pace of a run on this machine, measured in a process like that of a run.

    sizes: of the dataset; a part that is smaller than a batch is measured as it is.  Raises CalibrationError.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place))
        folder.artifacts.mkdir()
        folder.write_text("settings.yaml", yaml.safe_dump(nest(config.flat())))
        folder.write("sizes", {"train": sizes.train, "validation": sizes.validation, "test": sizes.test})
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "segcore.execution.calibration", place],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=worker_environment(config.execution.threads),
        )
        pace = folder.read("pace")
        if not pace:
            said = done.stderr.strip().splitlines()
            raise CalibrationError(said[-1] if said and done.returncode > 0 else explain_death(done.returncode))
        return Pace(**pace)


def calibrate_unknown(to_do: Sequence[Run], paces: Paces, lookup: Lookup, console: Console) -> Paces:
    """Measure each kind of work among the runs of which nothing is known, keep that in `runs/`, and return it too."""
    for config in unknown_kinds(to_do, paces):
        kind, memory = kind_of(config), memory_needed(config, paces)
        if memory.least_gib > memory.free_gib:
            console.print(f"not measured: {kind}: too little memory is free", style="yellow", markup=False)
            continue
        try:
            with console.status(Text(f"measuring {kind}")):
                pace = calibrate(config, lookup.sizes(config))
        except CalibrationError as error:
            console.print(f"not measured: {kind}: {error}", style="yellow", markup=False)
            continue
        make_runs_folder()
        keep_timing(kind, pace)
    return Paces(paces.finished, read_timings())


def measure(folder: RunFolder) -> Pace:
    """Train, evaluate and report on random images, and time each part of it."""
    rehearse()
    started = time.time()
    # Whatever the arm's rate is, the weights stay finite; whatever its length, time ends the training.
    miniature = {"optimizer.lr": 1e-6, "scheduler.eta_min": 0.0, "trainer.epochs": MOST_EPOCHS}
    config = RunConfig.model_validate(nest(folder.config().flat() | miniature))
    device, threads = build.resolve_device(config), build.resolve_threads(config)
    worker.set_up(config, device, threads)
    write_environment(folder, device, threads)
    data = random_data(config, Sizes(**folder.read("sizes")))
    model = build.build_model(config, device)
    keeper = Keeper(folder, config.execution.checkpoint_seconds, Stop())
    trainer = worker.build_trainer(config, data, model, device, keeper)
    begun = time.time()
    records = []
    for record in trainer.fit():
        records.append(record.metrics)
        if record.epoch == 1:
            worker.save_best(folder, config, data, model, record)
        folder.append("epochs", {"epoch": record.epoch, "time": time.time(), "metrics": record.metrics})
        if record.epoch >= LEAST_EPOCHS and time.time() - begun > SECONDS:
            break
    folder.write("training", training_metrics(folder, config, peak_memory_gib(device)))
    training = statistics.median(1 / metrics["images_per_second"] for metrics in records[1:])
    epoch = statistics.median(metrics["epoch_seconds"] for metrics in records[1:])
    validation = (epoch - training * len(data.train)) / len(data.validation)
    testing = seconds_of_testing(config, data, model, device) / len(data.test)
    reporting = time.perf_counter()
    report_results(folder, config, data, device)
    export_model(folder)
    reporting = time.perf_counter() - reporting - testing * (len(data.validation) + len(data.test))
    warming_up = max(0.0, records[0]["epoch_seconds"] - epoch)
    fixed = begun - started + warming_up + max(0.0, reporting)
    return Pace(training, max(0.0, validation), testing, fixed, folder.read("training")["peak_memory_gib"])


def seconds_of_testing(config: RunConfig, data: PreparedData, model: torch.nn.Module, device: torch.device) -> float:
    """One pass over the test images, as the report makes it."""
    start = time.perf_counter()
    evaluate_part(config, data.test, model, device)
    return time.perf_counter() - start


def random_data(config: RunConfig, sizes: Sizes) -> PreparedData:
    """As many random images as one batch of each kind takes, or as the dataset has."""
    generator = np.random.default_rng(0)
    train = min(config.data.batch_size, sizes.train)
    step = build.resolve_evaluation_batch(config, build.resolve_device(config))
    validation, test = (min(step, size) for size in (sizes.validation, sizes.test))
    size = config.data.image_size
    return PreparedData(
        name="random",
        fingerprint="random",
        train=random_part(generator, train, size),
        validation=random_part(generator, validation, size),
        test=random_part(generator, test, size),
        skipped=(),
    )


def random_part(generator: np.random.Generator, size: int, image_size: int) -> Part:
    """Random pixels and trimap codes."""
    images = generator.integers(0, 256, (size, image_size, image_size, 3), dtype=np.uint8)
    codes = generator.integers(1, 4, (size, image_size, image_size), dtype=np.uint8)
    return Part(tuple(map(str, range(size))), (None,) * size, pack(images, codes))


if __name__ == "__main__":
    FOLDER = RunFolder(Path(sys.argv[1]))
    FOLDER.write("pace", vars(measure(FOLDER)))
