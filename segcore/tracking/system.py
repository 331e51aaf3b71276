"""Load of the machine, as MLflow's own monitors measure it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

# MLflow gives its monitors no types.
MONITORS: tuple[Any, ...] = (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor)


def system_sampler() -> Callable[[], dict[str, float]]:
    """A function that measures the machine: {"system/cpu_utilization_percentage": 93.1, ...}.

    CPU load is the mean since the call before, network traffic the sum since the sampler was made.  GPUs are among it
    where there are some and nvidia-ml-py is installed.
    """
    monitors: list[Any] = []
    for monitor in MONITORS:
        # Raised where there is no NVIDIA GPU, or no library that asks it.
        with suppress(ImportError, RuntimeError):
            monitors.append(monitor())

    def sample() -> dict[str, float]:
        measured: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            measured |= {f"system/{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return measured

    sample()  # begins the interval over which the first CPU load is averaged
    return sample
