"""What a test may change of its process, for those after it; which these are depends on how files are shared out."""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

# What pytest and libraries change while they work.
THEIRS = ("PYTEST_", "RAY_", "KMP_", "TORCHINDUCTOR_", "_TORCHINDUCTOR_", "MLFLOW_", "_MLFLOW_")
# What only the suite or its tests can have added; other variables that are new are those of a library's first import.
OURS = ("MLFLOW_TRACKING_URI", "SEGCORE_", "CUDA_VISIBLE_DEVICES", "OMP_", "MKL_", "GLIBC_TUNABLES", "PYTHONPATH")


def process_state() -> dict[str, object]:
    """Handlers of signals, variables of the environment, limits, and the working folder, by name."""
    state: dict[str, object] = {f"the handler of {number.name}": signal.getsignal(number) for number in signal.Signals}
    for name, value in os.environ.items():
        if name == "MLFLOW_TRACKING_URI" or not name.startswith(THEIRS):
            state[f"the variable {name}"] = value
    state |= {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
    state["the working folder"] = Path.cwd()
    return state


def find_changes(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """What differs, a line each."""
    new = {
        name for name in after.keys() - before.keys() if name.startswith(tuple(f"the variable {our}" for our in OURS))
    }
    names = sorted(before.keys() | new)
    pairs = {name: (before.get(name), after.get(name)) for name in names}
    return [f"{name} was {old} before and is {new} after" for name, (old, new) in pairs.items() if old != new]


@contextlib.contextmanager
def torch_settings_kept() -> Iterator[None]:
    """PyTorch's settings of the process, which trainings and evaluations set, are put back at the end."""
    if "torch" not in sys.modules:  # its import takes seconds, and a test of YAML files does without
        yield
        return
    import torch

    threads = torch.get_num_threads()
    deterministic, benchmark = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic, benchmark
