"""What a machine can do: its rate of matrix multiplications, the operations of a training step, and its description.

`python -m benchmarks.machine PRECISION [DEVICE]` prints the rate in TFLOP/s, measured in a process of its own.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from segcore.execution.environment import describe_device
from segcore.models import MODELS

TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SIZES = (1024, 2048, 4096)
REPEATS = 5
LEAST_SECONDS = 0.3


@lru_cache(maxsize=16)
def count_flops(model_name: str, image_size: int, training: bool) -> int:
    """Floating-point operations of an image, a multiplication and its addition counted as two.

    training: forward and backward; else forward alone.
    """
    with torch.device("meta"):
        model = MODELS[model_name](in_channels=3, out_channels=1)
        images = torch.empty(2, 3, image_size, image_size)
        with FlopCounterMode(display=False) as counter:
            logits = model(images)
            if training:
                logits.sum().backward()
    return int(counter.get_total_flops()) // len(images)


def measure_matmul(precision: str, device: torch.device) -> float:
    """The machine's best rate of square matrix products in a precision, operations a second: of three sizes."""
    return max(rate_of(size, TYPES[precision], device) for size in SIZES)


def rate_of(size: int, dtype: torch.dtype, device: torch.device) -> float:
    """The median of several timings of size x size matrix products, operations a second."""
    first, second = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    first @ second
    rates = []
    for _ in range(REPEATS):
        number, seconds = 0, 0.0
        start = time.perf_counter()
        while seconds < LEAST_SECONDS:
            for _ in range(4):
                first @ second
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            number += 4
            seconds = time.perf_counter() - start
        rates.append(number * 2 * size**3 / seconds)
    return statistics.median(rates)


def matmul_rate(precision: str, device: str) -> float:
    """The rate, measured in a fresh process, so that nothing of this one's settings counts."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "benchmarks.machine", precision, device], capture_output=True, text=True, check=True
    )
    return float(done.stdout) * 1e12


def describe_machine(device: torch.device) -> str:
    """Processor, cores, matrix instructions, GPU and versions, in a line."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    name = next((line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "")
    amx = "with" if "amx_bf16" in cpuinfo else "without"
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    return ", ".join(
        [
            *([describe_device(device)] if device.type == "cuda" else []),
            f"{len(os.sched_getaffinity(0))} cores of {name or platform.processor()} ({amx} amx_bf16"
            + (f", ONEDNN_MAX_CPU_ISA={limit})" if limit else ")"),
            f"torch {torch.__version__}",
            f"Python {platform.python_version()}",
        ]
    )


if __name__ == "__main__":
    chosen = torch.device(sys.argv[2] if len(sys.argv) > 2 else "cpu")
    print(measure_matmul(sys.argv[1], chosen) / 1e12)
