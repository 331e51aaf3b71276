"""The most memory that a process and its children hold, files that are mapped into it left out."""

import contextlib
import subprocess
import threading
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

INTERVAL = 0.2
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
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join()

    def watch(self) -> None:
        """Sample until the process ends."""
        while self.process.poll() is None:
            pids = [self.process.pid]
            with contextlib.suppress(psutil.Error):
                pids += [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]
            self.peak = max(self.peak, sum(map(held_bytes, pids)))
            time.sleep(INTERVAL)
