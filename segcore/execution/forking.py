"""The nursery from within: a process that forks a worker for each request, and prepares their ends in a pause."""

import contextlib
import gc
import importlib
import json
import math
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
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
