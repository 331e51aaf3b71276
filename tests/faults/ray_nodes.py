"""A Ray cluster of two nodes on this machine, one of which can be killed as a machine dies: everything at once."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psutil  # type: ignore[import-untyped]

from segcore.execution.ray_cluster import own_signals_kept


class Nodes:
    """Two nodes, `first` and `second`, each with one CPU, and what else the second is said to have.

    address: what runner.py is told.
    """

    def __init__(self, **second: Any) -> None:
        from ray.cluster_utils import Cluster  # here, because Ray is not everywhere

        options = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80_000_000}
        self.cluster = Cluster(initialize_head=True, head_node_args=options)
        self.first = self.cluster.head_node
        self.second = self.cluster.add_node(**options | second)
        self.cluster.wait_for_nodes()
        self.address = str(self.cluster.address)

    def processes(self, node: Any) -> list[psutil.Process]:
        """All processes of a node, those that its tasks have started among them."""
        (raylet,) = node.all_processes["raylet"]
        process = psutil.Process(raylet.process.pid)
        return [process, *process.children(recursive=True)]

    def kill(self, node: Any) -> None:
        """End a node as a power cut does."""
        for process in self.processes(node):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """End what is left."""
        left = [process for node in (self.first, self.second) if is_up(node) for process in self.processes(node)]
        self.cluster.shutdown()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def is_up(node: Any) -> bool:
    """Whether a node's raylet runs."""
    return "raylet" in node.all_processes and psutil.pid_exists(node.all_processes["raylet"][0].process.pid)


@contextlib.contextmanager
def two_nodes(**second: Any) -> Iterator[Nodes]:
    """The nodes until the context is left.  second: what the second one has, such as num_gpus."""
    # Ray sets a handler of SIGTERM and variables for this process.
    with mock.patch.dict(os.environ, RAY_USAGE_STATS_ENABLED="0"):
        with own_signals_kept():
            nodes = Nodes(**second)
        try:
            yield nodes
        finally:
            with own_signals_kept():
                nodes.close()


def stand(place: str) -> None:
    """A task in place of a run: tells in a file of its own what Ray gave it, and lasts until there is a file `go`."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    (Path(place) / f"{os.getpid()}.{time.monotonic_ns()}.task").write_text(visible)
    while not (Path(place) / "go").exists():
        time.sleep(0.05)


def is_run_by(process: psutil.Process, folder: Path) -> bool:
    """Whether a process is the worker of a run's folder."""
    with contextlib.suppress(psutil.Error):
        return folder.name in " ".join(process.cmdline())
    return False
