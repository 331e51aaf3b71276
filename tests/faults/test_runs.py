"""What happens to a run itself: no disk, no memory, no progress, no numbers; the others go on, and so does it later."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.calls import World, read_json
from tests.faults.test_kills import assert_whole
from tests.small_disk import small_disk

# In a training, from its second epoch on, but only while the file `fault` is there.
IN_EPOCH_2 = """
from pathlib import Path
from segcore.trainer import Trainer
plain = Trainer.train_epoch
def train_epoch(self):
    if self.epoch == 2 and (Path(__file__).parent / "fault").exists():
        {fault}
    return plain(self)
Trainer.train_epoch = train_epoch
"""


def plant(world: World, fault: str) -> None:
    """Have trainings come to grief in epoch 2, until `heal` is called."""
    world.disturb(IN_EPOCH_2.format(fault=fault))
    (world.folder / "fault").touch()


def heal(world: World) -> None:
    """From now on, trainings come to no grief."""
    (world.folder / "fault").unlink()


def tags(world: World) -> dict[str, str]:
    """The tags of the only run in MLflow."""
    import sqlite3

    with sqlite3.connect(world.folder / "mlflow.db") as connection:
        return dict(connection.execute("SELECT key, value FROM tags").fetchall())


@pytest.mark.faults
def test_a_training_that_diverges_ends_alone_and_stands(make_world):
    arms = {"one": {"optimizer.lr": 1e-3}, "two": {"optimizer.lr": 1e-4}}
    world = make_world(arms=arms)
    first = 'self.optimizer.param_groups[0]["params"][0]'
    nan = f'if self.optimizer.defaults["lr"] > 5e-4: {first}.data.fill_(float("nan"))'
    plant(world, nan)
    assert world.call() == 1
    states = {read_json(path / "state.json")["state"] for path in world.run_folders()}
    assert states == {"finished", "diverged"}
    assert "training loss is nan in epoch 2: the training diverged" in world.output
    assert dict(world.tracked_runs()) == {"one, seed 1": "FAILED", "two, seed 1": "FINISHED"}
    heal(world)
    before = world.output
    assert world.call() == 1
    assert "one, seed 1: diverged before, and would again; --rerun trains them anew" in world.output[len(before) :]
    assert world.call("--rerun", "--only", "one") == 0


@pytest.mark.faults
def test_a_training_that_hangs_is_ended_with_its_reason_and_goes_on_by_the_same_call(make_world, undisturbed):
    world = make_world(settings={"execution": {"timeout_minutes": 0.3}})
    hang = "(Path(__file__).parent / 'fault').unlink(); import time; time.sleep(600)"
    plant(world, hang)
    assert world.call() == 0
    assert "failed  one, seed 1: no progress for " in world.output
    assert "in train_epoch" in world.output
    assert "it is tried again" in world.output
    log = (world.run_folder() / "log.txt").read_text()
    assert "it was in, the innermost call first:" in log and "in train_epoch" in log
    assert world.numbers() == undisturbed.numbers()
    assert_whole(world)


@pytest.mark.faults
def test_a_failure_stands_with_its_reason_and_its_log_in_mlflow(make_world, undisturbed):
    world = make_world()
    plant(world, "raise RuntimeError('planted here')")
    assert world.call("--retries", "1") == 1
    assert world.output.count("RuntimeError: planted here") >= 2  # tried twice
    found = tags(world)
    assert (found["state"], found["reason"]) == ("failed", "RuntimeError: planted here")
    assert "RuntimeError: planted here" in found["log_tail"]
    [log] = world.folder.glob("mlruns/*/*/artifacts/log.txt")
    assert "Traceback" in log.read_text() and "planted here" in log.read_text()
    heal(world)
    assert world.call() == 0
    assert world.numbers() == undisturbed.numbers()
    assert_whole(world)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small tmpfs")
@pytest.mark.faults
def test_a_full_disk_ends_a_run_with_advice_and_the_same_command_goes_on(make_world, undisturbed):
    world = make_world()
    with small_disk(world.folder / "runs", megabytes=40) as disk:
        assert world.call() == 1
        assert "no space left" in world.output
        assert "free some; the same command goes on" in world.output
        assert "Traceback" not in world.output
        subprocess.run(["mount", "-o", "remount,size=2000m", str(disk)], check=True)
        assert world.call() == 0
        assert world.numbers() == undisturbed.numbers()
        assert_whole(world)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small tmpfs")
@pytest.mark.faults
def test_a_disk_that_has_no_room_for_checkpoints_costs_the_checkpoints_alone(make_world, undisturbed):
    """Room for the weights, artifacts and model, not for two states of the training, three times as large."""
    world = make_world(settings={"execution": {"checkpoint_seconds": 0.0}})
    with small_disk(world.folder / "runs", megabytes=330):
        assert world.call() == 0
        assert "could not be kept" in (world.run_folder() / "log.txt").read_text()
        assert world.numbers() == undisturbed.numbers()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a tmpfs")
def test_a_read_only_folder_is_told_and_nothing_is_begun(make_world):
    world = make_world()
    with small_disk(world.folder / "runs", megabytes=10) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert world.call() == 2
        assert "runs: cannot be written (Read-only file system); the runs are kept there" in world.output


@pytest.mark.faults
def test_a_worker_that_allocates_until_it_is_killed_ends_alone(make_world, undisturbed):
    """Killed by the system, in a control group that has 3 GiB; where there are none, the test cannot be made."""
    group = Path("/sys/fs/cgroup/memory/segmentation-ablations-test")
    try:
        group.mkdir(exist_ok=True)
        (group / "memory.limit_in_bytes").write_text(str(3 * 2**30))
    except OSError as error:
        pytest.skip(f"needs a memory control group (v1): {error}")
    try:
        world = make_world()
        (world.folder / "memory").write_text(str(group / "cgroup.procs"))
        enter = "open((Path(__file__).parent / 'memory').read_text(), 'w').write(str(__import__('os').getpid()))"
        plant(world, f"{enter}; held = [bytearray(2**26) for _ in range(200)]")
        assert world.call("--retries", "2") == 1
        assert world.state()["state"] == "lost"
        assert "killed by the system, which had run out of memory: lower data.batch_size" in world.state()["reason"]
        assert "it is tried again" not in world.output
        heal(world)
        assert world.call() == 0
        assert world.numbers() == undisturbed.numbers()
        assert_whole(world)
    finally:
        group.rmdir()


@pytest.mark.faults
def test_memory_that_is_refused_names_the_settings_and_is_not_tried_again(make_world):
    world = make_world()
    plant(world, "__import__('torch').empty(1 << 46)")
    assert world.call("--retries", "3") == 1
    assert "out of memory: lower data.batch_size, evaluation.batch_size or data.image_size" in world.output
    assert "it is tried again" not in world.output
    settings = (world.run_folder() / "settings.yaml").read_text()
    assert "batch_size: 6" in settings  # and nobody has changed it


JUMPS = """
import random, time
plain_time, chance = time.time, random.Random(3)
time.time = lambda: plain_time() + chance.choice([-1e6, 0.0, 1e6])
"""


@pytest.mark.faults
def test_a_clock_that_jumps_by_days_changes_nothing(make_world, undisturbed):
    world = make_world(settings={"execution": {"timeout_minutes": 0.5}})
    world.disturb(JUMPS)
    call = world.start()
    assert world.wait_for_worker(call)
    time.sleep(4)
    if worker := world.worker():
        os.kill(worker, signal.SIGKILL)
    call.wait(180)
    assert call.returncode == 0 or world.call() == 0
    assert "no progress" not in world.output
    assert world.numbers() == undisturbed.numbers()
    assert_whole(world)


@pytest.mark.faults
def test_a_damaged_cache_is_made_anew(make_world, undisturbed):
    world = make_world()
    (pixels,) = (world.folder / "data").glob("cache/*/pixels.npy")
    content = bytearray(pixels.read_bytes())
    content[len(content) // 2] ^= 255
    pixels.write_bytes(content)
    assert world.call() == 0
    assert world.numbers() == undisturbed.numbers()


FOUR = {"arms": {f"lr {rate}": {"optimizer.lr": rate} for rate in (1e-3, 1e-4)}, "seeds": [1, 2]}


@pytest.mark.faults
def test_two_calls_at_once_share_the_runs(make_world):
    world = make_world(**FOUR)
    world.has_report = True
    calls = [world.start(), world.start()]
    assert [call.wait(240) for call in calls] == [0, 0]
    assert world.output.count("The report is in MLflow") == 2
    assert world.tracked_reports() == 1
    assert_whole(world, num_runs=4)
    assert "by another call" in world.output
    starts = [(path / "log.txt").read_text().count(" data: ") for path in world.run_folders()]
    assert starts == [1] * 4  # each was trained once
    resumed = [json.loads((path / "run.json").read_text())["resumed"] for path in world.run_folders()]
    assert resumed == [0] * 4


@pytest.mark.faults
def test_of_two_calls_one_takes_over_what_the_other_leaves(make_world):
    world, peaceful = make_world(**FOUR), make_world(**FOUR)
    assert peaceful.call() == 0
    first, second = world.start(), world.start()
    assert world.wait_for_worker(first)
    time.sleep(6)
    first.kill()
    first.wait()
    assert second.wait(240) == 0
    assert world.numbers() == peaceful.numbers()
    assert_whole(world, num_runs=4)
