"""What a worker does between the steps of a training: tell where it is, keep its state by time, stop when asked."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from segcore.batches import LabelledBatch
from segcore.checkpoint import may_pass, read_checkpoint
from segcore.errors import UserError
from segcore.execution.folder import RunFolder
from segcore.execution.stopping import Stop
from segcore.execution.totals import peak_memory_gib
from segcore.trainer import EpochRecord, Trainer
from segcore.training_state import DamagedStateError, load_state, remove_states, save_state, state_files

log = logging.getLogger("worker")

# What batches go through on their way to an evaluation.
Watch = Callable[[Iterable[LabelledBatch]], Iterable[LabelledBatch]]

# Raised when what a state holds changes its meaning, so that an older one is not taken for a new one.
STATE_VERSION = 1


class DamagedWeightsError(Exception):
    """The best weights were whole, and are no longer; the next process trains anew."""


class Heartbeat:
    """Tells through `progress.json`, at most once a second, that the run goes on, and where the training is."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.where: dict[str, int] = {}
        # Not the time of day, which may jump.
        self.last = -1.0

    def __call__(self, **where: int) -> None:
        """where: epoch, step and steps of the training; nothing in a validation, which is where the training was."""
        now = time.monotonic()
        self.where = where or self.where
        if self.last < 0 or now - self.last >= 1:
            self.last = now
            try:
                self.folder.write("progress", {**self.where, "time": time.time()})
            except OSError as error:
                log.warning("no heartbeat: %s", error)
                # A disk that is full still takes this, and that is a sign of life, too.
                with contextlib.suppress(OSError):
                    os.utime(self.folder.log)

    def watch(self, batches: Iterable[LabelledBatch]) -> Iterator[LabelledBatch]:
        """The batches, with a beat before each."""
        for batch in batches:
            self()
            yield batch


class Keeper:
    """Keeps a training: its state every so many seconds, a line for each epoch, a heartbeat.

    seconds: between two states.  stop: whether the worker is to stop, which is heeded between two steps.
    trainer: set by whoever builds it with `on_step` and `watch`.
    """

    trainer: Trainer

    def __init__(self, folder: RunFolder, seconds: float, stop: Stop) -> None:
        self.folder = folder
        self.seconds = seconds
        self.stop = stop
        self.heartbeat = Heartbeat(folder)
        self.noted = {line.get("epoch") for line in folder.lines("epochs")}
        self.kept = time.monotonic()
        self.memory_before = 0.0
        # Epochs whose weights, where they are the best, are kept already, though they are computed once more.
        self.settled: set[int | None] = set()

    @property
    def peak_memory_gib(self) -> float:
        """The most that any process of the training held."""
        return max(self.memory_before, peak_memory_gib(self.trainer.device))

    def on_step(self, epoch: int, step: int) -> None:
        """Called before each step of the training."""
        self.heartbeat(epoch=epoch, step=step, steps=self.trainer.data.num_batches)
        self.between_steps()

    def between_steps(self) -> None:
        """Called where the training's state is whole.  Raises KeyboardInterrupt where it is to stop."""
        self.stop.check()
        if time.monotonic() - self.kept >= self.seconds:
            self.save()

    def watch(self, batches: Iterable[LabelledBatch]) -> Iterator[LabelledBatch]:
        """The batches of a validation; before each it can stop, too."""
        for batch in self.heartbeat.watch(batches):
            self.between_steps()
            yield batch

    def note(self, record: EpochRecord) -> None:
        """A line for an epoch, unless it was computed before, by a process that was cut short after it."""
        if record.epoch not in self.noted:
            self.noted.add(record.epoch)
            self.folder.append("epochs", {"epoch": record.epoch, "time": time.time(), "metrics": record.metrics})

    def save(self) -> bool:
        """Keep the training's state; whether that could be done.  A full disk does not end a training."""
        state = {
            "version": STATE_VERSION,
            "trainer": self.trainer.state_dict(),
            "peak_memory_gib": self.peak_memory_gib,
        }
        try:
            save_state(self.folder.states, state)
        except OSError as error:
            log.warning("the training's state could not be kept (%s); it goes on, and the one before stays", error)
            return False
        finally:
            self.kept = time.monotonic()
        return True

    def resume(self) -> None:
        """Bring the trainer to where the newest usable state was kept; where there is none it stands at its start.

        There it stands, too, where the best weights so far are lost: no state holds them.
        """
        state = newest_state(self.folder)
        best = find_best_weights(self.folder) if self.noted else {}
        if best is None:
            # They must never meet the weights that the training now brings, whenever that is cut short.
            remove_states(self.folder.states)
        if state is None or best is None:
            return
        try:
            self.trainer.load_state_dict(state["trainer"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{self.folder.states}: was kept by a version of the suite that does not fit this one ({reason}); "
                "--rerun trains the run from its start"
            ) from None
        self.memory_before = state["peak_memory_gib"]
        # They may be of an epoch after the state, which is computed once more: a device that does not repeat its
        # numbers to the last bit must not bring other weights than those that the epoch's line tells of.
        if "metrics" in best:
            self.note(EpochRecord(best["epoch"], best["metrics"], is_best=True))
        # Else they are of a training that began anew, which has not come again to where the lines end.
        if best and best.get("epoch") == find_best_epoch(self.folder):
            self.settled = set(self.noted)
        if best.get("epoch") in self.noted:
            self.trainer.best_dice = max(self.trainer.best_dice, best["val/dice_per_image"])
        log.info("the training goes on in epoch %d after %d steps", self.trainer.epoch, self.trainer.step)


def find_best_epoch(folder: RunFolder) -> int | None:
    """The epoch whose weights are the best by the epochs' lines; None where there is none."""
    scores = {line.get("epoch"): line.get("metrics", {}).get("val/dice_per_image") for line in folder.lines("epochs")}
    known = {epoch: score for epoch, score in scores.items() if epoch is not None and score is not None}
    return max(known, key=lambda epoch: (known[epoch], -epoch), default=None)


def find_best_weights(folder: RunFolder) -> dict[str, Any] | None:
    """What is noted with the best weights; None where they are not whole, and only the training can bring them back.

    Raises OSError, and what says that memory is short: they may be whole all the same.
    """
    try:
        return read_checkpoint(folder.checkpoint)[1]
    except UserError as error:
        if error.__cause__ is not None and may_pass(error.__cause__):
            raise error.__cause__ from None
        log.warning("the training begins anew: %s", error)
        return None


def newest_state(folder: RunFolder) -> dict[str, Any] | None:
    """The newest state of a training that is whole; of damaged ones the log tells.  Raises as `find_best_weights`."""
    for path in state_files(folder.states):
        try:
            state = load_state(path)
            if state.get("version") == STATE_VERSION:
                return state
            log.warning("%s is of another version of the suite", path)
        except DamagedStateError as error:
            if error.__cause__ is not None and may_pass(error.__cause__):
                raise error.__cause__ from None
            log.warning("%s is damaged, and the one before is used: %s", path, error)
            # Else it would count as one of the two that are kept.
            with contextlib.suppress(OSError):
                path.rename(path.with_suffix(".damaged"))
    return None
