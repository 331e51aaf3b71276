"""What a training goes on from: its newest state, and the best weights that belong to it."""

import errno
import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from segcore.checkpoint import save_checkpoint
from segcore.execution.folder import RunFolder
from segcore.execution.keeping import Heartbeat, Keeper
from segcore.execution.stopping import Stop
from segcore.training_state import load_state, state_files


class StandInTrainer:
    """A trainer whose state is a few numbers."""

    def __init__(self, epoch=1, best_dice=float("-inf")):
        self.epoch, self.step, self.best_dice = epoch, 0, best_dice
        self.device = torch.device("cpu")

    def state_dict(self):
        return {"epoch": self.epoch, "best_dice": self.best_dice}

    def load_state_dict(self, state):
        self.epoch, self.best_dice = state["epoch"], state["best_dice"]


@pytest.fixture
def make_keeper(tmp_path):
    """A function that makes the keeper of a process which goes on with the run, and has not resumed yet."""

    def make(**trainer):
        keeper = Keeper(RunFolder(tmp_path), 300.0, Stop())
        keeper.trainer = StandInTrainer(**trainer)
        return keeper

    return make


def note_epochs(keeper, *dice):
    """The process before noted these epochs, and kept the best weights of them."""
    for epoch, value in enumerate(dice, start=1):
        keeper.note(SimpleNamespace(epoch=epoch, metrics={"val/dice_per_image": value}))
    best = max(dice)
    keep_weights(keeper.folder, dice.index(best) + 1, best)


def cut_short(make_keeper, *dice):
    """The keeper of a process that kept a state at the start of epoch 3, and was killed after these epochs."""
    before = make_keeper(epoch=3, best_dice=0.6)
    before.save()
    note_epochs(before, *dice)
    return before


def keep_weights(folder, epoch, dice):
    save_checkpoint(folder.checkpoint, nn.Linear(1, 1), {"settings": {}, "epoch": epoch, "val/dice_per_image": dice})


def test_weights_of_an_epoch_that_is_computed_again_stay_unless_a_later_one_is_better(make_keeper):
    cut_short(make_keeper, 0.5, 0.6, 0.8, 0.7)
    keeper = make_keeper()
    keeper.resume()
    # Epochs 3 and 4 come again, and on a GPU with other last bits: 0.8 is what a later epoch has to surpass.
    assert (keeper.trainer.epoch, keeper.trainer.best_dice) == (3, 0.8)


def test_weights_of_an_epoch_that_nobody_has_noted_are_chosen_again(make_keeper):
    before = cut_short(make_keeper, 0.5, 0.6)
    keep_weights(before.folder, 3, 0.8)  # and the process was killed before it could note the epoch
    keeper = make_keeper()
    keeper.resume()
    assert keeper.trainer.best_dice == 0.6


def test_a_training_that_was_begun_anew_and_cut_short_does_not_mistake_older_epochs_for_its_weights(make_keeper):
    before = make_keeper(epoch=5, best_dice=0.8)
    note_epochs(before, 0.5, 0.6, 0.8, 0.7)
    anew = make_keeper(epoch=2, best_dice=0.5)
    keep_weights(anew.folder, 1, 0.5)
    anew.save()
    keeper = make_keeper()
    keeper.resume()
    assert (keeper.trainer.epoch, keeper.trainer.best_dice) == (2, 0.5)
    # The weights of the better epochs, which the older lines tell of, are still to come.
    assert keeper.settled == set()


@pytest.mark.parametrize("is_missing", [True, False])
def test_without_its_best_weights_a_training_begins_anew(make_keeper, is_missing, caplog):
    before = cut_short(make_keeper, 0.5, 0.6)
    if is_missing:
        before.folder.checkpoint.unlink()
    else:
        before.folder.checkpoint.write_bytes(before.folder.checkpoint.read_bytes()[:-1])
    keeper = make_keeper()
    with caplog.at_level(logging.WARNING):
        keeper.resume()
    assert (keeper.trainer.epoch, keeper.trainer.best_dice) == (1, float("-inf"))
    assert "the training begins anew" in caplog.text
    # Cut short before its first state, with the first epoch's weights: the next process does not mix old and new.
    keep_weights(keeper.folder, 1, 0.5)
    third = make_keeper()
    third.resume()
    assert (third.trainer.epoch, third.trainer.best_dice) == (1, float("-inf"))


def test_storage_that_errs_for_a_moment_costs_neither_weights_nor_states(make_keeper, monkeypatch):
    cut_short(make_keeper, 0.5, 0.6)

    def fail(*arguments, **options):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.safe_open", fail)
        with pytest.raises(OSError, match="Input/output"):
            make_keeper().resume()
    keeper = make_keeper()
    keeper.resume()
    assert (keeper.trainer.epoch, keeper.trainer.best_dice) == (3, 0.6)


def test_epochs_that_are_computed_again_do_not_replace_the_weights_that_are_kept(make_keeper):
    cut_short(make_keeper, 0.5, 0.6, 0.8, 0.7)
    keeper = make_keeper()
    assert keeper.settled == set()
    keeper.resume()
    assert keeper.settled == {1, 2, 3, 4}


def test_a_damaged_state_does_not_count_as_one_of_the_two_that_are_kept(make_keeper):
    before = make_keeper(epoch=1)
    before.save()
    before.trainer.epoch = 2
    before.save()
    newest, good = state_files(before.folder.states)
    newest.write_bytes(newest.read_bytes()[:-1])
    keeper = make_keeper()
    keeper.resume()
    keeper.trainer.epoch = 3
    keeper.save()
    assert [load_state(path)["trainer"]["epoch"] for path in state_files(keeper.folder.states)] == [3, 1]
    assert good in state_files(keeper.folder.states)


def test_an_epoch_whose_weights_were_kept_before_it_was_noted_is_noted(make_keeper):
    before = make_keeper(epoch=2, best_dice=0.5)
    before.save()
    note_epochs(before, 0.5)
    metadata = {"settings": {}, "epoch": 2, "val/dice_per_image": 0.6, "metrics": {"val/dice_per_image": 0.6}}
    save_checkpoint(before.folder.checkpoint, nn.Linear(1, 1), metadata)
    keeper = make_keeper()
    keeper.resume()
    assert keeper.trainer.best_dice == 0.6
    assert [line["epoch"] for line in keeper.folder.lines("epochs")] == [1, 2]


def test_a_heartbeat_that_cannot_be_written_ends_no_training(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        Heartbeat(RunFolder(tmp_path / "gone"))(epoch=1, step=1, steps=2)
    assert "no heartbeat" in caplog.text
