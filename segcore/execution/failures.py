"""Why a run failed, in words, and whether trying again could help."""

import errno
import re

import torch

from segcore.errors import UserError, is_out_of_memory

OUT_OF_GPU_MEMORY = re.compile(r"CUDA error: out of memory|CU(?:BLAS|DNN|SOLVER|SPARSE)_STATUS_ALLOC_FAILED")


def describe_failure(error: Exception) -> tuple[str, bool]:
    """The reason of a failure in one line, and whether trying again could help."""
    if isinstance(error, UserError):
        return str(error), False
    if is_out_of_gpu_memory(error):
        return (
            "out of GPU memory: lower data.batch_size, evaluation.batch_size or data.image_size, or have fewer runs on "
            "a GPU (--jobs, execution.gpus_per_run)"
        ), False
    if is_out_of_memory(error):
        return "out of memory: lower data.batch_size, evaluation.batch_size or data.image_size, or --jobs", False
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left for {error.filename or 'its files'}: free some; the same command goes on", False
    return f"{type(error).__name__}: {error}".splitlines()[0], True


def is_out_of_gpu_memory(error: Exception) -> bool:
    """Whether the GPU had no memory left; its libraries, and a context that is made, say so in a text alone."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or bool(OUT_OF_GPU_MEMORY.search(str(error)))
