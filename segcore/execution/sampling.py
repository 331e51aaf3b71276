"""Machine use during a training, a line in `system.jsonl` every few seconds."""

import logging
import threading
import time
from types import TracebackType

from segcore.execution.folder import RunFolder
from segcore.tracking import system_sampler

SECONDS = 10.0


class SystemSampling:
    """While entered, a thread samples processor, memory, disk, network and GPU through MLflow's own monitors."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.sample, name="system-sampling", daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stopped.set()
        self.thread.join(timeout=SECONDS)

    def sample(self) -> None:
        """Sample at once and then every `SECONDS`, until stopped; a failure ends the sampling, not the run."""
        try:
            sampler = system_sampler()
            # A run that is continued goes on counting.
            step = max((line["step"] for line in self.folder.lines("system")), default=-1) + 1
            while True:
                self.folder.append("system", {"time": time.time(), "step": step, "metrics": sampler()})
                step += 1
                if self.stopped.wait(SECONDS):
                    return
        except Exception:
            logging.getLogger("worker").exception("machine use is no longer sampled")
