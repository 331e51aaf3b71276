"""The last stage of a run, where its best weights are no longer whole."""

from torch import nn

from segcore.checkpoint import save_checkpoint
from segcore.execution import worker
from segcore.execution.attempts import can_continue, start_attempt
from segcore.execution.nursery import open_nursery
from segcore.execution.stage import Stage


def test_best_weights_that_are_damaged_before_the_export_may_be_trained_again(make_plan):
    folder = start_attempt(make_plan().runs[0], "float32")
    folder.write("training", {"train_seconds": 1.0})
    folder.write("results", {"time": 0.0, "metrics": {}})
    save_checkpoint(folder.checkpoint, nn.Conv2d(3, 1, 1), {"settings": {}, "epoch": 1})
    content = bytearray(folder.checkpoint.read_bytes())
    content[-1] ^= 1
    folder.checkpoint.write_bytes(content)
    # A process of its own: a worker sets handlers of signals, limits and logging for its whole process.
    with open_nursery() as nursery, folder.log.open("ab") as log:
        assert nursery is not None
        assert nursery.start(folder.path, Stage.end, log.fileno(), [], {}).wait(timeout=60) == 1
    state = folder.read("state")
    assert state["state"] == "failed"
    assert state["reason"].startswith("DamagedWeightsError: ")
    assert state["reason"].endswith("; the training begins anew")
    assert state.get("try_again", True) is True
    assert can_continue(folder)


def test_what_says_that_a_run_is_done_goes_before_what_it_rests_on(make_plan):
    folder = start_attempt(make_plan().runs[0], "float32")
    for name in ("training", "results"):
        folder.write(name, {"metrics": {}})
    worker.forget_training(folder)
    assert folder.read("training") == folder.read("results") == {}
