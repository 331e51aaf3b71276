"""(c) The suite, through the code that a run's worker runs: decoded once, trained with its own trainer."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.contest import Outcome, Timed, Work, contend, seconds_since_start, synchronise
from segcore import build
from segcore.ablation import read_preset
from segcore.batches import LabelledBatch
from segcore.config import Layer, Problems, RunConfig, resolve
from segcore.data import PreparedData
from segcore.execution import worker
from segcore.execution.folder import RunFolder
from segcore.trainer import TrainingData

SEED = 42


class TimedData:
    """The trainer's data, with a clock around each batch and each epoch."""

    def __init__(self, data: TrainingData) -> None:
        self.data = data
        self.waiting = 0.0
        self.num_batches = data.num_batches
        self.num_images = data.num_images

    def epoch(self, epoch: int) -> Iterator[LabelledBatch]:
        """The batches of an epoch."""
        batches = Timed(self.data.epoch(epoch))
        yield from batches
        self.waiting = batches.take()


def configure(work: Work) -> RunConfig:
    """The work as settings of a run."""
    settings = {
        "data.root": work.root,
        "data.cache_dir": work.cache,
        "data.image_size": work.image_size,
        "data.batch_size": work.batch_size,
        "model.name": work.model,
        "optimizer.lr": work.learning_rate,
        "trainer.epochs": work.epochs + 1,
        "execution.device": work.device,
    }
    problems = Problems()
    config = resolve([read_preset("base")[0], Layer("benchmark", settings)], SEED, problems)
    problems.raise_any()
    assert config is not None
    return config


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


def train(work: Work) -> Outcome:
    """Build and train as `segcore.execution.worker` does."""
    config = configure(work)
    device = build.resolve_device(config)
    worker.set_up(config, build.resolve_threads(config))
    outcome = Outcome(build.resolve_precision(config, device))
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place))
        folder.artifacts.mkdir()
        trainer = worker.build_trainer(folder, config, load(work, config), build.build_model(config, device), device)
        data = TimedData(trainer.data)
        trainer.data = data
        validate = trainer.validate

        def timed_validation(model: Any) -> dict[str, float]:
            start = time.perf_counter()
            metrics = validate(model)
            synchronise(device)
            outcome.evaluation.append(time.perf_counter() - start)
            return metrics

        trainer.validate = timed_validation
        outcome.start = seconds_since_start()
        for record in trainer.fit():
            outcome.training.append(data.num_images / record.metrics["images_per_second"])
            outcome.waiting.append(data.waiting)
            outcome.losses.append(record.metrics["train/loss"])
    return outcome


if __name__ == "__main__":
    contend(train)
