"""What glibc does with a large tensor's memory at the end of its life: keeps it, or gives it back to the system."""

import ctypes
import os
import sys

# Given back, each new tensor faults its pages in again, at the price of up to two fifths of a training step on a CPU;
# kept, pieces of freed memory do not always fit again, and more is held (docs/decisions.md).
KEEP_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184"
# Numbers of mallopt's parameters, from malloc.h, and the highest that glibc sets them to of its own accord.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MMAP_THRESHOLD = 32 * 2**20
TRIM_THRESHOLD = 2 * MMAP_THRESHOLD


def keeps_memory() -> bool:
    """Whether this process began with KEEP_MEMORY, rather than with settings of the user's own or none."""
    return sys.platform == "linux" and os.environ.get("GLIBC_TUNABLES") == KEEP_MEMORY


def give_memory_back() -> None:
    """From now on, give the memory of large tensors back, in a process that `keeps_memory`."""
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)
    mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)
