"""A process that is forked from the runner when its imports are done, and forks a worker for each run.

Imports take seconds; so they are paid once a call, and a worker begins in a tenth of a second.  Nothing is done before
these forks that they would not survive: no generator of ours is used, no thread is started but those that wait inside
libraries, and no GPU is in sight, which is why the runner, which does all that later, does not fork the workers itself.

Each message to the nursery is a request with the descriptors of a log and of locks; it answers with the number of the
process, and tells when that has ended, and how.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from segcore.execution.forking import MESSAGE_BYTES, POLL_SECONDS, become_nursery
from segcore.execution.stage import Stage

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
