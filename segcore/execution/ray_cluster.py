"""The Ray cluster that a call uses: found or started, what its nodes have, and what a run asks of it."""

import contextlib
import importlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from segcore import build
from segcore.config import RunConfig
from segcore.errors import UserError
from segcore.execution.ray_task import Assignment, look
from segcore.execution.variables import worker_environment
from segcore.plan import Run

# A node has to start a Python process and import torch.
ANSWER_SECONDS = 180.0
# After this the user is told what is waited for.
QUIET_SECONDS = 2.0
LISTENER_SECONDS = 5.0
# Where somebody has said how Ray is to know its users, that stands.
TOKEN_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
OWN_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Node:
    """A node that is up.  cpus, gpus: what it declares to Ray, in all."""

    name: str
    identity: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to, as it was then.  name: for people.  say: tells the user."""

    name: str
    nodes: tuple[Node, ...]
    say: Callable[[str], None] = field(default=print, compare=False)

    def resolve_device(self, config: RunConfig) -> torch.device:
        """The device that a run's settings mean on the nodes.  Raises UserError where none has it."""
        has_gpus = any(node.gpus for node in self.nodes)
        name = config.execution.device
        if name == "auto":
            return torch.device("cuda" if has_gpus else "cpu")
        device = torch.device(name)
        if device.type == "cuda" and device.index is not None:
            raise UserError(f"execution.device = {name}: on a cluster Ray chooses the GPU; say cuda, or auto")
        if device.type == "cuda" and not has_gpus:
            raise UserError(f"execution.device = {name}: no node of {self.name} declares a GPU to Ray; use auto or cpu")
        return device

    def with_threads(self, run: Run) -> Run:
        """The run with as many threads as it asks the cluster for.

        `auto` is one core beside a GPU, and on CPUs all that the smallest node has, so that a run fits on any node and
        computes the same on each.
        """
        config = run.config
        if config.execution.threads != "auto":
            return run
        on_gpu = self.resolve_device(config).type == "cuda"
        threads = 1 if on_gpu else max(1, int(min((node.cpus for node in self.nodes if node.cpus >= 1), default=1)))
        execution = config.execution.model_copy(update={"threads": threads})
        return replace(run, config=config.model_copy(update={"execution": execution}))

    def resources(self, run: Run) -> dict[str, float]:
        """What Ray is asked for: `num_cpus` and `num_gpus`.  Raises UserError where no node has it."""
        config = self.with_threads(run).config
        threads = config.execution.threads
        assert isinstance(threads, int)
        gpus = config.execution.gpus_per_run if self.resolve_device(config).type == "cuda" else 0.0
        suitable = [node for node in self.nodes if node.gpus >= gpus]
        if not any(node.cpus >= threads for node in suitable):
            which = "node with a GPU" if gpus else "node"
            most = max((node.cpus for node in suitable), default=0)
            raise UserError(
                f"execution.threads = {threads}: no {which} of {self.name} has so many CPUs; the most is {most:g}"
            )
        return {"num_cpus": threads, "num_gpus": gpus}

    def check(self, assignment: Assignment) -> None:
        """Raise UserError where nodes that may get runs do not reach the call's folder or the code."""
        ray = import_ray()
        strategies = ray.util.scheduling_strategies
        remote = ray.remote(look)
        asked = {}
        for node in (node for node in self.nodes if node.cpus):
            where = strategies.NodeAffinitySchedulingStrategy(node.identity, soft=False)
            asked[remote.options(num_cpus=0, max_retries=1, scheduling_strategy=where).remote(assignment)] = node
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=QUIET_SECONDS)
        if silent:
            who = "the node loads" if len(asked) == 1 else f"{len(silent)} of {len(asked)} nodes load"
            self.say(f"Ray: {who} the suite first, which can take a minute")
            answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
        problems = [f"node {asked[answer].name}: does not answer in {ANSWER_SECONDS:.0f} s" for answer in silent]
        problems += [problem for answer in answered if (problem := read_answer(ray, answer, asked[answer]))]
        if problems:
            raise UserError("\n".join(problems))


def read_answer(ray: ModuleType, answer: Any, node: Node) -> str | None:
    """What a node says is wrong with it, or why it could not even say that; None where nothing is."""
    try:
        problem: str | None = ray.get(answer)
    except ray.exceptions.RayError as error:
        code = worker_environment()["PYTHONPATH"]
        return f"node {node.name}: cannot run this suite from {code}: {last_line(error)}"
    return problem


def last_line(error: Exception) -> str:
    """An error of Ray, whose texts are whole tracebacks, in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def import_ray() -> ModuleType:
    """Ray, which only this launcher needs.  Raises UserError where it is not installed."""
    # A Ray that is started here would listen on all interfaces, and run whatever it is told to: only for those who know
    # this.  It has to be said before the import; clusters that ask for no token do not mind.
    has_own = any(name in os.environ for name in TOKEN_VARIABLES) or (Path.home() / ".ray" / "auth_token").exists()
    if "ray" not in sys.modules and not has_own:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        importlib.import_module("ray.util.scheduling_strategies")
        return importlib.import_module("ray")
    except ImportError as error:
        raise UserError(
            f"--launcher ray: {error}; Ray comes with: python -m pip install -r requirements-ray.txt"
        ) from None


@contextlib.contextmanager
def open_cluster(address: str | None, say: Callable[[str], None], may_start: bool = True) -> Iterator[Cluster | None]:
    """A connection to the cluster at an address until the context is left.

    Without an address: to that of RAY_ADDRESS or one that runs on this machine; else to one that is started here for
    the call, of this machine alone, or None where `may_start` is false.  Raises UserError.
    """
    ray = import_ray()
    if asked_address(address).startswith("ray://"):
        raise UserError(
            f"{as_asked(address)}: runner.py has to run on a node of the cluster, since it reads runs/ as tasks do. "
            "Log in there, and say --address auto"
        )
    with own_signals_kept():
        where = connect(ray, address, say if may_start else None)
    try:
        cluster = Cluster(where, find_nodes(ray), say) if where else None
        if cluster:
            say(f"Ray: {cluster.name}, {describe(cluster.nodes)}")
        yield cluster
    finally:
        ray.shutdown()


@contextlib.contextmanager
def own_signals_kept() -> Iterator[None]:
    """Signals that end a call go on to do so as before: Ray sets a handler of its own."""
    handlers = {number: signal.getsignal(number) for number in OWN_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def connect(ray: ModuleType, address: str | None, say: Callable[[str], None] | None) -> str | None:
    """Connect this process; how the cluster is called, or None where there is none and none may be started.

    say: tells the user that one is started; None where that may not be.
    """
    # Ray would tell its makers about the cluster.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": {"PYTHONPATH": worker_environment()["PYTHONPATH"]}},
    }
    wanted = asked_address(address)
    require_listener(wanted, as_asked(address))
    if wanted != "local":
        try:
            context = ray.init(address=wanted, **options)
        except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            if wanted != "auto" or address:
                said = last_line(error)
                raise UserError(f"{as_asked(address)}: no Ray cluster answers there ({said})") from None
        else:
            return f"the cluster at {context.address_info['gcs_address']}"
    if say is None:
        return None
    say("Ray: none runs here, so one is started on this machine")
    ray.init(
        address="local",
        num_cpus=build.count_cores(),
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        **options,
    )
    return "the one on this machine that was started for this call"


def asked_address(address: str | None) -> str:
    """The cluster that is asked for: by --address, or by RAY_ADDRESS; `auto` where it is by neither."""
    return address or os.environ.get("RAY_ADDRESS") or "auto"


def as_asked(address: str | None) -> str:
    """How it was asked for."""
    asked = asked_address(address)
    return f"RAY_ADDRESS={asked}" if not address and os.environ.get("RAY_ADDRESS") else f"--address {asked}"


def require_listener(address: str, asked: str) -> None:
    """Raise UserError where nobody listens at HOST:PORT: Ray itself would try for minutes.  asked: how it was."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=LISTENER_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UserError(f"{asked}: no Ray cluster answers there ({error})") from None


def find_nodes(ray: ModuleType) -> tuple[Node, ...]:
    """The nodes that are up."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return tuple(
        Node(node["NodeManagerHostname"], node["NodeID"], have.get("CPU", 0.0), have.get("GPU", 0.0))
        for node in nodes
        if (have := node["Resources"]) is not None
    )


def describe(nodes: Sequence[Node]) -> str:
    """How much there is, in a few words."""
    number = f"{len(nodes)} node{'s' * (len(nodes) != 1)}"
    return f"{number}, {sum(node.cpus for node in nodes):g} CPUs, {sum(node.gpus for node in nodes):g} GPUs"
