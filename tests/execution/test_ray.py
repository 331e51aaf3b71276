"""Calls of runner.py on a Ray cluster of two nodes on this machine: the same numbers, also when a node dies."""

import shutil
import subprocess
import sys
import time

import pytest

from segcore.ablation import load_ablation
from segcore.errors import UserError
from segcore.execution import folder as folders
from segcore.execution.attempts import Preparation
from segcore.execution.claims import Claims, wait_for_claim
from segcore.execution.folder import folder_of
from segcore.execution.ray import RayLauncher
from segcore.execution.ray_cluster import Cluster, Node, open_cluster
from segcore.execution.ray_task import (
    Assignment,
    Ending,
    NodeError,
    begin,
    enter,
    find_ending,
    marker_of,
    read_beginning,
)
from segcore.plan import Facts, expand
from tests.faults.calls import PROJECT, SECONDS, World, read_json
from tests.faults.ray_nodes import is_run_by, stand, two_nodes

ARMS = {"large": {"optimizer.lr": 1e-3}, "small": {"optimizer.lr": 1e-4}}
GONE = "its node, or the process that watched over it, is gone"
# Whether the run was computed on a cluster, and who was at work on it.
OF_THE_CLUSTER = {"task.json"}


@pytest.fixture
def make_world(tmp_path, empty_database):
    """A function that makes a folder with two tiny runs."""

    def make(name):
        world = World(tmp_path / name)
        world.folder.mkdir()
        shutil.copy(empty_database, world.folder / "mlflow.db")
        world.write(arms=ARMS, settings={"data": {"synthetic_images": 40}, "trainer": {"epochs": 2}})
        return world

    return make


def wait_until(call, holds):
    """Wait for what a call is to do, which has not ended before."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert call.poll() is None, "the call has ended"
        assert time.monotonic() < end
        time.sleep(0.02)


def files_of(world):
    """Names of the files that each run keeps, without those that only tell of a cluster."""
    return {
        folder.name: {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - OF_THE_CLUSTER
        for folder in world.run_folders()
    }


def assert_same(one, other):
    """Two worlds hold the same: numbers bit for bit, files, and runs and epochs in MLflow, each epoch once."""
    assert one.numbers() == other.numbers()
    assert files_of(one) == files_of(other)
    assert sorted(one.tracked_runs()) == sorted(other.tracked_runs())
    assert one.tracked_epochs() == other.tracked_epochs()
    assert set(other.tracked_epochs().values()) == {1}


@pytest.mark.faults
def test_a_run_whose_node_dies_goes_on_on_the_other_and_all_numbers_are_those_of_the_local_launcher(make_world):
    pytest.importorskip("ray", reason="needs requirements-ray.txt")
    undisturbed, disturbed = make_world("undisturbed"), make_world("disturbed")
    assert undisturbed.call("--jobs", "2") == 0, undisturbed.output
    with two_nodes() as nodes:
        call = disturbed.start("--launcher", "ray", "--address", nodes.address)

        def hit():
            """The run on the second node, once it has trained for an epoch and kept a state after that."""
            for folder in disturbed.run_folders():
                is_there = any(is_run_by(process, folder) for process in nodes.processes(nodes.second))
                epochs = folder / "epochs.jsonl"
                if is_there and epochs.is_file() and any((folder / "checkpoints").glob("*")):
                    return folder
            return None

        wait_until(call, hit)
        folder = hit()
        nodes.kill(nodes.second)
        assert not (folder / "results.json").exists()
        assert call.wait(SECONDS) == 0, disturbed.output
    assert read_json(folder / "run.json")["resumed"] == 1
    assert read_json(folder / "task.json")["number"] == 2
    assert "the training goes on in epoch" in (folder / "log.txt").read_text()
    assert f"Ray: the cluster at {nodes.address}, 2 nodes, 2 CPUs, 0 GPUs" in disturbed.output
    assert f", seed 1: {GONE}; it is tried again" in disturbed.output
    assert_same(undisturbed, disturbed)


@pytest.fixture
def runs(write_ablation, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def make(**settings):
        changes = {"settings": {"model.name": "resnet34_unet"} | settings}
        return expand(load_ablation(write_ablation(**changes)), lambda config: Facts("data", "float32")).runs

    return make


@pytest.mark.faults
def test_a_call_that_is_told_to_stop_saves_its_runs_and_goes_on_to_the_same_numbers(make_world):
    pytest.importorskip("ray", reason="needs requirements-ray.txt")
    undisturbed, stopped = make_world("undisturbed"), make_world("stopped")
    assert undisturbed.call("--jobs", "2") == 0, undisturbed.output
    call = stopped.start("--launcher", "ray", "--address", "local")
    wait_until(call, lambda: any((folder / "checkpoints").is_dir() for folder in stopped.run_folders()))
    call.terminate()
    assert call.wait(SECONDS) == 130
    states = {read_json(folder / "state.json").get("state") for folder in stopped.run_folders()}
    assert "interrupted" in states
    assert states <= {"interrupted", "finished"}
    assert "to go on from what is saved: python" in stopped.output
    assert stopped.call("--launcher", "ray", "--address", "local") == 0, stopped.output
    assert_same(undisturbed, stopped)


@pytest.mark.faults
def test_two_runs_of_half_a_gpu_are_computed_at_a_time_and_a_third_waits(runs, tmp_path):
    # The node only declares a GPU: the resources are those of runs, the tasks stand in place of trainings.
    ray = pytest.importorskip("ray", reason="needs requirements-ray.txt")
    half = runs(**{"execution.gpus_per_run": 0.5, "execution.threads": 1})[0]
    with two_nodes(num_cpus=3, num_gpus=1) as nodes, open_cluster(nodes.address, print) as cluster:
        options = RayLauncher(cluster, 0, None, None, Claims()).options(half)
        tasks = [ray.remote(stand).options(**options).remote(str(tmp_path)) for _ in range(3)]
        end = time.monotonic() + SECONDS
        while len(list(tmp_path.glob("*.task"))) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        assert ray.available_resources().get("GPU", 0) == 0
        assert ray.wait(tasks, num_returns=1, timeout=2)[0] == []
        begun = list(tmp_path.glob("*.task"))
        assert [path.read_text() for path in begun] == ["0", "0"]
        (tmp_path / "go").touch()
        ray.get(tasks)
        assert len(list(tmp_path.glob("*.task"))) == 3


CLUSTER = Cluster("this", (Node("head", "1", 0, 0), Node("small", "2", 4, 0), Node("large", "3", 16, 2)))


def test_a_run_asks_for_its_threads_and_its_share_of_a_gpu(runs):
    run = runs(**{"execution.threads": 3, "execution.gpus_per_run": 0.5})[0]
    assert CLUSTER.resources(run) == {"num_cpus": 3, "num_gpus": 0.5}
    run = runs(**{"execution.threads": 3, "execution.device": "cpu"})[0]
    assert CLUSTER.resources(run) == {"num_cpus": 3, "num_gpus": 0}


def test_all_cores_are_those_of_the_smallest_node_and_one_beside_a_gpu(runs):
    on_cpu, on_gpu = runs(**{"execution.device": "cpu"})[0], runs()[0]
    assert CLUSTER.resources(on_cpu) == {"num_cpus": 4, "num_gpus": 0}
    assert CLUSTER.with_threads(on_cpu).config.execution.threads == 4
    assert CLUSTER.with_threads(on_cpu).fingerprint == on_cpu.fingerprint
    assert CLUSTER.resources(on_gpu) == {"num_cpus": 1, "num_gpus": 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"execution.threads": 32},
            "execution.threads = 32: no node with a GPU of this has so many CPUs; the most is 16",
        ),
        ({"execution.device": "cuda:1"}, "execution.device = cuda:1: on a cluster Ray chooses the GPU"),
    ],
)
def test_what_no_node_has_is_refused(runs, settings, message):
    with pytest.raises(UserError, match=message):
        CLUSTER.resources(runs(**settings)[0])
    with pytest.raises(UserError, match="no node of none declares a GPU"):
        Cluster("none", CLUSTER.nodes[:2]).resources(runs(**{"execution.device": "cuda"})[0])


def test_a_node_that_does_not_reach_the_folder_says_so(runs, tmp_path):
    assignment = Assignment(Preparation(runs()[0], "float32"), "call", str(tmp_path / "elsewhere"))
    with pytest.raises(NodeError, match=r"node .*elsewhere: No such file or directory; every node has to reach"):
        enter(assignment)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(NodeError, match=r"is another folder here than where runner\.py runs"):
        enter(assignment)


@pytest.fixture
def assigned(runs, tmp_path):
    """A function that gives a run to a task of a call, and its folder."""

    def assign(call="call", **changes):
        run = runs()[0]
        assignment = Assignment(Preparation(run, "float32", **changes), call, str(tmp_path))
        folders.RUNS.mkdir(exist_ok=True)
        marker_of(call).touch()
        return assignment, folder_of(run)

    return assign


def test_a_task_that_ray_starts_again_goes_on_with_the_attempt(assigned):
    assignment, folder = assigned()
    folder.path.mkdir()
    begin(assignment, folder)
    attempt = folder.read("run")["attempt"]
    folder.set_state("running")  # and its node dies
    assert find_ending(assignment, folder) is None
    begin(assignment, folder)
    assert folder.read("run")["attempt"] == attempt
    assert folder.read("run")["resumed"] == 1
    beginning = read_beginning(folder)
    assert (beginning.number, beginning.continues, beginning.before) == (2, None, ["lost", GONE])


def test_tasks_that_get_no_further_are_counted_and_those_that_do_are_not(assigned):
    assignment, folder = assigned()
    folder.path.mkdir()
    counts = []
    for step in (1, 1, 1, 2, 2):
        counts.append(begin(assignment, folder).fruitless)
        folder.write("progress", {"epoch": 1, "step": step})
        folder.set_state("running")  # and its process is gone
    assert counts == [0, 0, 1, 2, 0]


def test_a_task_that_is_started_again_after_its_run_has_ended_trains_nothing(assigned):
    assignment, folder = assigned()
    folder.path.mkdir()
    begin(assignment, folder)
    folder.set_state("finished")
    assert find_ending(assignment, folder) == Ending.ended
    other, _ = assigned("another call")
    assert find_ending(other, folder) == Ending.settled


def test_a_task_of_rerun_sets_the_earlier_attempt_aside_once(assigned):
    assignment, folder = assigned()
    folder.path.mkdir()
    begin(assignment, folder)
    folder.set_state("interrupted", "stopped by a signal")
    anew, _ = assigned("anew", may_continue=False, before=folder.read("state") | {"attempt": "another"})
    begin(anew, folder)
    first = read_beginning(folder)
    assert "replaced" in first.earlier
    folder.set_state("running")
    begin(anew, folder)
    second = read_beginning(folder)
    assert (second.number, second.earlier) == (2, first.earlier)
    assert len(list((folders.RUNS / "replaced").iterdir())) == 1


def test_a_run_whose_owner_lives_is_not_taken(assigned):
    _, folder = assigned()
    claim = Claims().take(folder)
    assert wait_for_claim(folder, seconds=0.3) is None
    claim.release()
    again = wait_for_claim(folder, seconds=0)
    assert again is not None
    again.release()


def test_the_launcher_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['ray'] = None; sys.argv = ['runner.py', *sys.argv[1:]]; import runner; runner.app()"
    command = [sys.executable, "-c", code, "loss", "--launcher", "ray", "--preset", "demo"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Ray comes with: python -m pip install -r requirements-ray.txt" in done.stderr


def test_an_address_without_ray_is_refused():
    command = [sys.executable, "runner.py", "loss", "--address", "auto"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "it goes with --launcher ray" in done.stderr
