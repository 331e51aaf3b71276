"""Environment variables of the processes that train."""

import os
from pathlib import Path

from segcore.execution.allocator import KEEP_MEMORY

PROJECT = Path(__file__).resolve().parents[2]


def worker_environment(threads: int | str = "auto") -> dict[str, str]:
    """The environment variables of a process that trains.  threads: of the run, or `auto`."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    environment = {"GLIBC_TUNABLES": KEEP_MEMORY} | os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    return environment | thread_variables(threads)


def thread_variables(threads: int | str) -> dict[str, str]:
    """The environment variables that limit the threads of a run; none where they are `auto`."""
    return {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if isinstance(threads, int)}
