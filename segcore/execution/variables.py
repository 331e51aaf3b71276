"""Environment variables of the processes that train."""

import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
# Else glibc gives every large tensor back to the system at the end of its life, and each new one faults its pages in
# again: a fifth of a training step on a CPU (docs/decisions.md).
KEEP_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184"


def keep_memory() -> None:
    """Have this program start anew where its allocator, and so that of the workers it forks, has no settings yet."""
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = KEEP_MEMORY
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def worker_environment(threads: int | str = "auto") -> dict[str, str]:
    """The environment variables of a process that trains.  threads: of the run, or `auto`."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    environment = {"GLIBC_TUNABLES": KEEP_MEMORY} | os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    return environment | thread_variables(threads)


def thread_variables(threads: int | str) -> dict[str, str]:
    """The environment variables that limit the threads of a run; none where they are `auto`."""
    return {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if isinstance(threads, int)}
