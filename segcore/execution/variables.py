"""Environment variables of the processes that train."""

import os
import sys
from pathlib import Path

from segcore.execution.allocator import KEEP_MEMORY

PROJECT = Path(__file__).resolve().parents[2]
# How often an OpenMP thread looks whether there is work before it sleeps.  By default it looks for milliseconds, which
# takes a core from whatever else runs there; a training beside another process is then half as fast.
SPINS = "1000"
# Without a GPU in sight nothing begins to use one, which no fork would survive.
NO_GPUS = {"CUDA_VISIBLE_DEVICES": "", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}


def settings_of_libraries() -> dict[str, str]:
    """What the allocator and OpenMP read when a process starts, as far as the user has not set it."""
    settings = {"GLIBC_TUNABLES": KEEP_MEMORY}
    if "OMP_WAIT_POLICY" not in os.environ:
        settings["GOMP_SPINCOUNT"] = SPINS
    return {name: value for name, value in settings.items() if name not in os.environ}


def start_anew() -> None:
    """Have this program begin again where it, and so the workers that it forks, lacks `settings_of_libraries`."""
    if sys.platform == "linux" and (settings := settings_of_libraries()):
        os.environ.update(settings)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def worker_environment(threads: int | str = "auto") -> dict[str, str]:
    """The environment variables of a process that trains.  threads: of the run, or `auto`."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | settings_of_libraries() | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    return environment | thread_variables(threads)


def thread_variables(threads: int | str) -> dict[str, str]:
    """The environment variables that limit the threads of a run; none where they are `auto`."""
    return {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if isinstance(threads, int)}
