"""The most memory that a process and its children hold, files that are mapped into it left out."""

import contextlib
import subprocess
import threading
from pathlib import Path

import psutil  # type: ignore[import-untyped]

# Long, because the kernel walks a process's whole page table for a sample, on the cores that are measured; a training
# holds its most in every step, so that seconds are enough to see it.
INTERVAL = 1.0
# Of /proc/PID/smaps_rollup: what a process has written itself, and shared memory; pages that several processes share
# count in parts that add up to one.
HELD = ("Pss_Anon:", "Pss_Shmem:")


def held_bytes(pid: int) -> int:
    """Resident bytes of a process that are not the contents of files; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(HELD))


class PeakMemory:
    """Watches a process and its descendants while it is entered; `peak` is the most that they held at once, bytes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.peak = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()

    def watch(self) -> None:
        """Sample at once and then every `INTERVAL`, until the process has ended or is not watched any more."""
        while self.process.poll() is None and not self.stopped.is_set():
            pids = [self.process.pid]
            with contextlib.suppress(psutil.Error):
                pids += [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]
            self.peak = max(self.peak, sum(map(held_bytes, pids)))
            self.stopped.wait(INTERVAL)
