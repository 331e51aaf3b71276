"""Processes killed at random moments: the numbers are those of an undisturbed run, and each epoch is there once."""

import os
import random
import signal
import time

import pytest

from tests.faults.calls import World, kill_soon

MOST_CALLS = 20
TRIALS = 50
# Less than a run of the small ablation takes from the start of its worker on an idle machine.
SECONDS = 4.0


def finish(world: World, *arguments: str) -> int:
    """Give the same command until all is finished; how often it was given."""
    for number in range(1, MOST_CALLS + 1):
        if world.call(*arguments) == 0:
            return number
    raise AssertionError(world.output)


def assert_whole(world: World, num_runs: int = 1, epochs: int = 3) -> None:
    """MLflow holds each run once, finished, and of each every epoch once."""
    assert [status for _, status in world.tracked_runs()] == ["FINISHED"] * num_runs
    counts = world.tracked_epochs()
    assert set(counts.values()) == {1}
    assert {step for _, _, step in counts} == set(range(1, epochs + 1))
    assert len(counts) == num_runs * epochs * 3
    assert not any((folder / "checkpoints").exists() for folder in world.run_folders())


def kill_and_finish(world: World, victim: str, chance: random.Random) -> None:
    """Kill one process of a call, and go on until all is finished."""
    call = world.start("--retries", "5")
    assert kill_soon(world, call, victim, SECONDS, chance), world.output
    if call.wait(180) != 0:
        finish(world, "--retries", "5")


@pytest.mark.faults
@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_random_kill_changes_no_number(make_world, undisturbed, trial):
    world = make_world()
    kill_and_finish(world, ("worker", "runner")[trial % 2], random.Random(trial))
    assert world.numbers() == undisturbed.numbers()
    assert_whole(world)


@pytest.mark.parametrize("victim", ["worker", "runner"])
def test_a_kill_changes_no_number(make_world, undisturbed, victim):
    world = make_world()
    kill_and_finish(world, victim, random.Random(7))
    assert world.numbers() == undisturbed.numbers()
    assert_whole(world)


def test_a_call_that_is_told_to_stop_saves_and_says_how_to_go_on(make_world, undisturbed):
    world = make_world(settings={"execution": {"checkpoint_seconds": 1000.0}})
    call = world.start()
    assert world.wait_for_worker(call)
    while not (world.run_folder() / "epochs.jsonl").exists():
        time.sleep(0.01)
    call.send_signal(signal.SIGTERM)
    assert call.wait(60) == 130
    assert world.state()["state"] == "interrupted"
    assert "saved in epoch" in world.state()["reason"]
    assert "to go on from what is saved: python" in world.output and "faults.yaml --no-report" in world.output
    assert world.call() == 0
    assert "goes on   one, seed 1, which was interrupted" in world.output
    assert "the training goes on in epoch" in (world.run_folder() / "log.txt").read_text()
    assert world.numbers() == undisturbed.numbers()
    assert_whole(world)


@pytest.mark.faults
def test_a_damaged_checkpoint_gives_way_to_the_one_before(make_world, undisturbed):
    world = make_world(settings={"execution": {"checkpoint_seconds": 0.0}})
    call = world.start("--retries", "0")
    assert world.wait_for_worker(call)
    while len(list((world.run_folder() / "checkpoints").glob("*.safetensors"))) < 2:
        time.sleep(0.005)
    os.kill(world.worker(), signal.SIGKILL)
    assert call.wait(60) == 1
    assert world.state()["state"] == "lost"
    newest = max((world.run_folder() / "checkpoints").glob("*.safetensors"))
    os.truncate(newest, newest.stat().st_size // 2)
    assert world.call() == 0
    assert f"{newest.name} is damaged, and the one before is used" in (world.run_folder() / "log.txt").read_text()
    assert world.numbers() == undisturbed.numbers()
    assert_whole(world)
    assert not (world.run_folder() / "checkpoints").exists()


@pytest.mark.faults
def test_best_weights_that_are_damaged_in_the_middle_of_a_training_begin_it_anew(make_world, undisturbed):
    world = make_world(settings={"execution": {"checkpoint_seconds": 0.0}})
    call = world.start("--retries", "0")
    assert world.wait_for_worker(call)
    epochs = world.run_folder() / "epochs.jsonl"
    while not epochs.exists() or not epochs.read_text().endswith("\n"):  # it is there a moment before its first line
        time.sleep(0.005)
    os.kill(world.worker(), signal.SIGKILL)
    assert call.wait(60) == 1
    assert any((world.run_folder() / "checkpoints").glob("*.safetensors"))
    best = world.run_folder() / "best.safetensors"
    os.truncate(best, best.stat().st_size // 2)
    assert world.call() == 0
    log = (world.run_folder() / "log.txt").read_text()
    assert "the training begins anew" in log and "the training goes on" not in log
    assert world.numbers() == undisturbed.numbers()
    assert_whole(world)


@pytest.mark.faults
def test_a_training_that_began_anew_is_killed_again_and_brings_the_same_weights(make_world):
    """Each epoch is better than the one before here, so that the weights of an early one would be seen."""
    settings = {"data": {"synthetic_images": 120, "image_size": 64}, "trainer": {"epochs": 6}}
    peaceful = make_world(settings=settings)
    assert peaceful.call() == 0
    world = make_world(settings={**settings, "execution": {"checkpoint_seconds": 0.0}})
    for lines, damages in ((4, True), (4, False)):
        call = world.start("--retries", "0")
        assert world.wait_for_worker(call)
        log, epochs = world.run_folder() / "log.txt", world.run_folder() / "epochs.jsonl"
        while not (epochs.exists() and epochs.read_text().count("\n") >= lines):
            time.sleep(0.005)
        while not damages and "epoch 2 of 6" not in log.read_text().partition("begins anew")[2]:
            time.sleep(0.005)
        os.kill(world.worker(), signal.SIGKILL)
        assert call.wait(60) == 1
        if damages:
            best = world.run_folder() / "best.safetensors"
            os.truncate(best, best.stat().st_size // 2)
    assert world.call() == 0
    assert "the training goes on" in (world.run_folder() / "log.txt").read_text().partition("begins anew")[2]
    assert world.numbers() == peaceful.numbers()
    assert_whole(world, epochs=6)


@pytest.mark.faults
@pytest.mark.parametrize("done", ["training", "results"])
def test_best_weights_that_are_damaged_after_the_training_bring_it_back(make_world, undisturbed, done):
    world = make_world()
    call = world.start("--retries", "0")
    assert world.wait_for_worker(call)
    while not (world.run_folder() / f"{done}.json").exists():
        time.sleep(0.002)
    if done == "results":  # else the call would have another process end the run
        call.kill()
    os.kill(world.worker(), signal.SIGKILL)
    assert call.wait(60) == (-signal.SIGKILL if done == "results" else 1)
    assert (world.run_folder() / "results.json").exists() == (done == "results")
    best = world.run_folder() / "best.safetensors"
    content = bytearray(best.read_bytes())
    content[-1000] ^= 1  # in a weight
    best.write_bytes(content)
    assert world.call() == 0
    assert "the training begins anew" in (world.run_folder() / "log.txt").read_text()
    assert world.numbers() == undisturbed.numbers()
    assert_whole(world)


SWEEP = {
    "arms": {f"lr {rate}": {"optimizer.lr": rate} for rate in (1e-3, 3e-4, 1e-4)},
    "seeds": [1, 2],
    "settings": {"trainer": {"epochs": 12}, "execution": {"checkpoint_seconds": 1.0}},
}


@pytest.mark.faults
def test_a_sweep_with_a_kill_every_20_seconds_still_finishes(make_world):
    peaceful, world = make_world(**SWEEP), make_world(**SWEEP)
    assert peaceful.call() == 0
    kills, victims = 0, random.Random(0)
    call, next_kill = world.start("--retries", "5"), time.monotonic() + 20
    end = time.monotonic() + 1500
    while (status := call.poll()) != 0:
        assert time.monotonic() < end, world.output
        if status is not None:
            call = world.start("--retries", "5")
        if time.monotonic() >= next_kill:
            number = call.pid if victims.random() < 0.5 else world.worker()
            next_kill += 20
            if number is not None and call.poll() is None:
                os.kill(number, signal.SIGKILL)
                kills += 1
        time.sleep(0.1)
    print(f"{kills} kills")
    assert kills >= 3  # of a fast machine, which is done in little more than a minute
    assert world.numbers() == peaceful.numbers()
    assert_whole(world, num_runs=6, epochs=12)
