"""A process that is forked from the runner when its imports are done, and forks a worker for each run.

Imports take seconds; so they are paid once a call, and a worker begins in a tenth of a second.  Nothing is done before
these forks that they would not survive: no generator of ours is used, no thread is started but those that wait inside
libraries, and no GPU is in sight, which is why the runner, which does all that later, does not fork the workers itself.

Each message to the nursery is a request with the descriptors of a log and of locks; it answers with the number of the
process, and tells when that has ended, and how.
"""

import contextlib
import gc
import importlib
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from segcore.execution import worker
from segcore.execution.folder import RunFolder
from segcore.execution.stage import Stage
from segcore.execution.variables import NO_GPUS

MESSAGE_BYTES = 65536
POLL_SECONDS = 0.05
# Without a request for so long, the nursery prepares for the runs' ends.
PAUSE_SECONDS = 0.5
# The log and the locks of one worker.
MAX_DESCRIPTORS = 4
# Of a worker whose end nobody saw, because the nursery was killed before it.
UNSEEN = -9


class Nursery:
    """The runner's end: starts workers and hears of their ends.

    Raises OSError from `start` where the process is gone; workers that live on are seen through.
    """

    def __init__(self) -> None:
        self.socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Of the threads of libraries, which wait and hold nothing.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if not self.pid:
            self.socket.close()
            become_nursery(other)
        other.close()
        self.ends: dict[int, int] = {}
        self.is_closed = False

    def start(
        self, folder: Path, stage: Stage, log: int, locks: Sequence[int], environment: dict[str, str]
    ) -> "ForkedWorker":
        """A worker for a stage of the folder's run, as `Stage`.

        log, locks: descriptors that it inherits.  environment: what it has besides.
        """
        request = {"folder": str(folder), "stage": stage, "environment": environment}
        try:
            socket.send_fds(self.socket, [json.dumps(request).encode()], [log, *locks])
            while True:
                message = self.receive()
                if "started" in message:
                    return ForkedWorker(self, int(message["started"]))
                self.note(message)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """End the process, and the worker that it may just have started, which nobody waits for any more."""
        self.is_closed = True
        os.kill(self.pid, signal.SIGKILL)
        self.wait()
        with contextlib.suppress(OSError):
            while content := self.socket.recv(MESSAGE_BYTES):
                message = json.loads(content)
                if "started" in message:
                    os.kill(int(message["started"]), signal.SIGTERM)
                else:
                    self.note(message)

    def receive(self) -> dict[str, Any]:
        """The next message.  Raises OSError where there will be none."""
        content = self.socket.recv(MESSAGE_BYTES)
        if not content:
            raise ConnectionError("the process that starts workers has ended")
        message: dict[str, Any] = json.loads(content)
        return message

    def note(self, message: dict[str, Any]) -> None:
        """Remember the end of a worker."""
        self.ends[int(message["ended"])] = int(message["status"])

    def collect(self) -> None:
        """Hear of all ends until now."""
        while not self.is_closed and select.select([self.socket], [], [], 0)[0]:
            try:
                self.note(self.receive())
            except OSError:
                self.is_closed = True

    def rest(self, seconds: float) -> None:
        """Wait so long, or until there is something to hear of."""
        if self.is_closed:
            time.sleep(seconds)
        else:
            select.select([self.socket], [], [], seconds)
            self.collect()

    def close(self) -> None:
        """End the process; workers that still run go on."""
        self.socket.close()
        self.wait()

    def wait(self) -> None:
        """Wait for its end."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


@contextlib.contextmanager
def open_nursery() -> Iterator[Nursery | None]:
    """A nursery until the context is left; None where nothing can be forked."""
    if not hasattr(os, "fork"):
        yield None
        return
    nursery = Nursery()
    try:
        yield nursery
    finally:
        nursery.close()


class ForkedWorker:
    """A worker as the launcher sees it, like `subprocess.Popen`: pid, returncode (None while it runs), and its end."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.nursery = nursery
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The status that it ended with, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.nursery.collect()
            self.returncode = self.nursery.ends.get(self.pid)
            if self.returncode is None and self.nursery.is_closed and not is_alive(self.pid):
                self.returncode = UNSEEN
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.  Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                assert timeout is not None
                raise subprocess.TimeoutExpired("worker", timeout)
            time.sleep(POLL_SECONDS)
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Tell it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number which has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def serve(connection: socket.socket) -> None:
    """Fork a worker for each request until the runner is gone; prepare their ends in the first pause after a start."""
    idle_since, is_prepared = math.inf, False
    while True:
        readable = select.select([connection], [], [], POLL_SECONDS)[0]
        tell_ends(connection)
        if not readable:
            if not is_prepared and time.monotonic() - idle_since > PAUSE_SECONDS:
                is_prepared = True
                # What fails here fails again at the end of the run, which can tell of it.
                with contextlib.suppress(Exception), without_gpus():
                    prepare_ends()
                gc.freeze()
            continue
        content, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, MAX_DESCRIPTORS)
        if not content:
            return
        # Python forgets a signal that reaches a child before its own work after the fork is done; held back, it waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        pid = os.fork()
        if pid == 0:
            become_worker(connection, json.loads(content), descriptors)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        for descriptor in descriptors:
            os.close(descriptor)
        idle_since = time.monotonic()
        connection.send(json.dumps({"started": pid}).encode())


@contextlib.contextmanager
def without_gpus() -> Iterator[None]:
    """While entered, this process asks in vain for GPUs, and its driver for nothing."""
    before = dict(os.environ)
    os.environ.update(NO_GPUS)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def prepare_ends() -> None:
    """Import and read what only the end of a run needs."""
    importlib.import_module("segcore.execution.reporting")
    importlib.import_module("segcore.tracking.exporting").rehearse()


def tell_ends(connection: socket.socket) -> None:
    """Reap the workers that have ended, and tell how."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        connection.send(json.dumps({"ended": pid, "status": os.waitstatus_to_exitcode(status)}).encode())


def become_worker(connection: socket.socket, request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """In the child: do the stage of the run and end.  The locks' descriptors stay open, which holds the locks."""
    status = 1
    try:
        connection.close()
        os.setsid()
        log = descriptors[0]
        redirect(log, log)
        os.close(log)
        os.environ.update(request["environment"])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        status = worker.main(RunFolder(Path(request["folder"])), Stage(request["stage"]))
    except BaseException:  # `worker.main` notes what it can; of the rest the log tells
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def become_nursery(connection: socket.socket) -> NoReturn:
    """In the runner's child: serve until the runner is gone."""
    try:
        os.setsid()  # Ctrl-C reaches the runner alone, which then tells the workers
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        redirect(nowhere, nowhere)
        # Each training would import it with its optimizer; the runner has no use for it.
        with without_gpus():
            importlib.import_module("torch._dynamo")
        gc.freeze()  # what is there now stays shared with the workers
        with contextlib.suppress(ConnectionError):
            serve(connection)
    finally:
        os._exit(0)


def redirect(output: int, errors: int) -> None:
    """Have this process write to two descriptors from now on, a line at a time."""
    os.dup2(output, 1)
    os.dup2(errors, 2)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
