"""A process that has imported what every run needs, and forks a worker for each of them.

`python -m segcore.execution.nursery DESCRIPTOR`, where the descriptor is its end of a socket.  The imports take
seconds; here they are paid once a call, while the runner still looks at data and plans, and a worker begins in a tenth
of a second.  Nothing is computed before the fork: no generator is used, no thread is started, and CUDA is not touched.

Each message to it is a request with the descriptors of a log and a lock; it answers with the number of the process, and
tells when that has ended, and how.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

MESSAGE_BYTES = 65536
POLL_SECONDS = 0.05
# Of a worker whose end nobody saw, because the nursery was killed before it.
UNSEEN = -9


class Nursery:
    """The runner's end: starts workers and hears of their ends.

    Raises OSError from `start` where the process is gone; workers that live on are seen through.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self.process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "segcore.execution.nursery", str(other.fileno())],
                # What an import has to say is said again by a worker that has to import by itself, into its log.
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                pass_fds=[other.fileno()],
                start_new_session=True,  # Ctrl-C reaches the runner alone, which then tells the workers
            )
        self.ends: dict[int, int] = {}
        self.is_closed = False

    def start(self, folder: Path, log: int, lock: int, environment: dict[str, str]) -> "ForkedWorker":
        """A worker for the folder.  log, lock: descriptors that it inherits.  environment: what it has besides."""
        request = {"folder": str(folder), "environment": environment}
        try:
            socket.send_fds(self.socket, [json.dumps(request).encode()], [log, lock])
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
        self.process.kill()
        self.process.wait()
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

    def close(self) -> None:
        """End the process; workers that still run go on."""
        self.socket.close()
        self.process.wait()


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
    """Fork a worker for each request until the runner is gone."""
    while True:
        readable = select.select([connection], [], [], POLL_SECONDS)[0]
        tell_ends(connection)
        if not readable:
            continue
        content, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 2)
        if not content:
            return
        pid = os.fork()
        if pid == 0:
            become_worker(connection, json.loads(content), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.send(json.dumps({"started": pid}).encode())


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
    """In the child: compute the run and end.  The lock's descriptor stays open, which holds the lock."""
    status = 1
    try:
        connection.close()
        os.setsid()
        log, _ = descriptors
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        os.environ.update(request["environment"])

        from segcore.execution import worker
        from segcore.execution.folder import RunFolder

        status = worker.main(RunFolder(Path(request["folder"])))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main(descriptor: int) -> None:
    """Import what a run needs, then serve."""
    import segcore.execution.worker  # noqa: F401

    gc.freeze()  # what is there now stays shared with the workers
    with socket.socket(fileno=descriptor) as connection, contextlib.suppress(ConnectionError):
        serve(connection)


if __name__ == "__main__":
    main(int(sys.argv[1]))
