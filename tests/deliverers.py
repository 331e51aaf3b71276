"""Processes that deliver runs, and what stands between them and a server: a slow line, a server that never answers."""

import contextlib
import multiprocessing
import os
import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from mlflow.entities import Experiment

from segcore import tracking
from segcore.tracking.backlog import clear, find_folders, read_backlog
from segcore.tracking.lease import LEASE, delivering
from tests.run_folders import STARTED, RunFolder

# Forks each process from one that has MLflow imported and nothing opened: the import takes seconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["segcore.tracking", "tests.deliverers"])


def write_runs(project: Path, num_runs: int, num_epochs: int, experiment: str = "lr_sweep") -> list[RunFolder]:
    """Finished runs, one a seed, begun one after the other."""
    folders = []
    for seed in range(num_runs):
        folder = RunFolder(project / "runs" / f"f{seed}", delay=100.0 * seed)
        for epoch in range(1, num_epochs + 1):
            folder.epoch(epoch)
        folder.finish()
        folder.note(experiment, seed=seed)
        folders.append(folder)
    return folders


def deliver_folders(paths: Sequence[Path], uri: str) -> None:
    """The work of a process: all deliveries of these folders.  Ends with status 1 where one is missed."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    backlog = read_backlog(find_folders(list(paths)))
    clear(backlog, tracking.tracking_client(), lambda _: None)
    if backlog.missed:
        print(backlog.missed, flush=True)
        raise SystemExit(1)


def start(paths: Sequence[Path], uri: str) -> BaseProcess:
    """A process that delivers these folders."""
    process = PROCESSES.Process(target=deliver_folders, args=(list(paths), uri), daemon=True)
    process.start()
    return process


def hold(folder: Path) -> BaseProcess:
    """A process that has a folder in hand until it is killed."""
    process = PROCESSES.Process(target=_hold, args=(folder,), daemon=True)
    process.start()
    deadline = time.monotonic() + 60
    while not (folder / LEASE).exists():
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    return process


def _hold(folder: Path) -> None:
    with delivering(folder):
        time.sleep(600)


def kill_some(paths: Sequence[Path], uri: str, num_kills: int, seconds: float, seed: int) -> int:
    """Deliveries that are killed (SIGKILL) after up to so many seconds; returns how many were cut short."""
    moments, num_cut = random.Random(seed), 0
    for _ in range(num_kills):
        process = start(paths, uri)
        process.join(moments.uniform(0.0, seconds))
        process.kill()
        process.join()
        num_cut += process.exitcode != 0
    return num_cut


def experiment_called(name: str) -> Experiment:
    """An experiment that MLflow holds.  Raises LookupError where it does not."""
    found = tracking.tracking_client().get_experiment_by_name(name)
    if found is None:
        raise LookupError(name)
    return found


def histories(experiment: str = "lr_sweep", key: str = "train/loss") -> dict[str, list[tuple[int, float, int]]]:
    """By seed: step, value and time of all that MLflow holds of a metric, in the order of the steps.

    A second run of a seed is an error.
    """
    client = tracking.tracking_client()
    found: dict[str, list[tuple[int, float, int]]] = {}
    for run in client.search_runs([experiment_called(experiment).experiment_id]):
        assert run.data.tags["seed"] not in found, "two runs of one seed"
        history = client.get_metric_history(run.info.run_id, key)
        found[run.data.tags["seed"]] = sorted((metric.step, metric.value, metric.timestamp) for metric in history)
    return found


def expected(num_runs: int, num_epochs: int) -> dict[str, list[tuple[int, float, int]]]:
    """What `histories` is when each epoch of `write_runs` is there once."""
    steps = range(1, num_epochs + 1)
    return {str(seed): [(n, 1 / n, round((STARTED + 10 * n) * 1000)) for n in steps] for seed in range(num_runs)}


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """The address of a server that accepts connections, reads nothing and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def slow_line(address: str, seconds: float) -> Iterator[str]:
    """The address of a line to a server, over which every piece of an answer takes so long."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        threading.Thread(target=_accept, args=(listener, (host, int(port)), seconds), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _accept(listener: socket.socket, target: Any, seconds: float) -> None:
    with contextlib.suppress(OSError):  # closed
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(target)
            for source, sink, delay in ((client, server, 0.0), (server, client, seconds)):
                threading.Thread(target=_pass_on, args=(source, sink, delay), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, seconds: float) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            time.sleep(seconds)
            sink.sendall(piece)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
            end.close()
