"""(c) The suite, through the code that a run's worker runs: decoded once, trained and kept by `worker.train`."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.contest import Outcome, Timed, Work, contend, seconds_since_start, synchronise
from benchmarks.settings import make_config
from segcore import build
from segcore.batches import LabelledBatch
from segcore.config import RunConfig
from segcore.data import PreparedData
from segcore.execution import worker
from segcore.execution.folder import RunFolder
from segcore.execution.sampling import SystemSampling
from segcore.execution.stopping import Stop
from segcore.trainer import Trainer, TrainingData


class TimedData:
    """The trainer's data, with a clock around each batch; what an epoch waited for them goes into the outcome."""

    def __init__(self, data: TrainingData, outcome: Outcome) -> None:
        self.data = data
        self.outcome = outcome
        self.num_batches = data.num_batches
        self.num_images = data.num_images

    def epoch(self, epoch: int, start: int = 0) -> Iterator[LabelledBatch]:
        """The batches of an epoch from the number `start` on."""
        batches = Timed(self.data.epoch(epoch, start))
        yield from batches
        self.outcome.waiting.append(batches.take())


def configure(work: Work) -> RunConfig:
    """The work as settings of a run."""
    return make_config(
        {
            "data.root": work.root,
            "data.cache_dir": work.cache,
            "data.image_size": work.image_size,
            "data.batch_size": work.batch_size,
            "model.name": work.model,
            "optimizer.lr": work.learning_rate,
            "trainer.epochs": work.epochs + 1,
            "trainer.compile": work.compile,
            "execution.device": work.device,
        }
    )


def load(work: Work, config: RunConfig) -> PreparedData:
    """The work's images out of the dataset, from the cache or decoded into it."""
    index = build.build_index(config)
    named = {item.name: item for item in index.items}
    # The cache wants a test part; nothing here tests.
    names = (*work.train, *work.validation, work.validation[0])
    train, validation = len(work.train), len(work.validation)
    subset = replace(
        index,
        items=tuple(named[name] for name in names),
        train=tuple(range(train)),
        validation=tuple(range(train, train + validation)),
        test=(train + validation,),
    )
    return build.build_data(config, subset)


def put_clocks(trainer: Trainer, outcome: Outcome, ends: list[float]) -> Trainer:
    """The trainer with clocks around its data and its validation.  ends: gets the Unix time at each one's end."""
    validate = trainer.validate

    def timed_validation(model: Any) -> dict[str, float]:
        start = time.perf_counter()
        metrics = validate(model)
        synchronise(trainer.device)
        outcome.evaluation.append(time.perf_counter() - start)
        ends.append(time.time())
        return metrics

    trainer.data, trainer.validate = TimedData(trainer.data, outcome), timed_validation
    outcome.images = trainer.data.num_images
    outcome.start = seconds_since_start()
    return trainer


def train(work: Work) -> Outcome:
    """Train as `worker.compute` does, with its sampling of the machine's use, its lines and its weights."""
    config = configure(work)
    device = build.resolve_device(config)
    worker.set_up(config, device, build.resolve_threads(config))
    outcome, ends = Outcome(build.resolve_precision(config, device), images=0), list[float]()
    build_trainer = worker.build_trainer

    def build_timed(*parts: Any) -> Trainer:
        return put_clocks(build_trainer(*parts), outcome, ends)

    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place))
        folder.artifacts.mkdir()
        data, model = load(work, config), build.build_model(config, device)
        with patch.object(worker, "build_trainer", build_timed), SystemSampling(folder):
            worker.train(folder, config, data, model, device, Stop())
        for line, end in zip(folder.lines("epochs"), ends, strict=True):
            outcome.training.append(outcome.images / line["metrics"]["images_per_second"])
            outcome.losses.append(line["metrics"]["train/loss"])
            outcome.recording.append(line["time"] - end)
    return outcome


if __name__ == "__main__":
    contend(train)
