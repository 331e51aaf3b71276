"""An MLflow server on loopback, of its own process, for as long as somebody needs it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

SECONDS_TO_START = 120.0


@contextlib.contextmanager
def serve(folder: Path, workers: int = 1, port: int | None = None, store: str | None = None) -> Iterator[str]:
    """Serves a database, with the artifacts below `folder/artifacts/` handed through; yields the address.

    workers: its processes that answer.  port: by default a free one.  store: the database's address, by default
    `folder/mlflow.db`.  Raises OSError where no port can be bound, RuntimeError where the server does not come up.
    """
    port = port or free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(workers)),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    # Not as an option: everyone on the machine sees a command line, and the address may hold a password.
    environment["MLFLOW_BACKEND_STORE_URI"] = store or f"sqlite:///{folder}/mlflow.db"
    # Otherwise it starts several more processes for jobs, which nobody here gives it.
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(server, address, folder / "server.log")
        yield address
    finally:
        # Its workers are processes of their own: the whole group has to go.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Returns when the server answers."""
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"the MLflow server did not come up: {log.read_text()[-500:]}")
