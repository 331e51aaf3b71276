"""Where a process hung, read from the trace that Python's faulthandler left in its log."""

import re
from pathlib import Path

# So many calls are named, the innermost first.
MAX_FRAMES = 19
BLOCK = re.compile(r"^(?:Current thread|Thread) 0x[0-9a-f]+[^\n]*\n((?: +File [^\n]*\n?)+)", re.MULTILINE)
FRAME = re.compile(r'File "([^"\n]+)", line (\d+) in ([^\n]+)')
PACKAGE = "segcore/"
# What the main thread of a worker is in, whatever else.
MAIN = "segcore/execution/worker.py"
# Enough for a trace of many threads.
TAIL_BYTES = 200_000


def read_place(log: Path, start: int = 0) -> list[str]:
    """The calls that a worker's main thread was in when its last trace was made, the innermost first; empty if none.

    start: from where in the log, in bytes.  Each as `subprocess.py, line 75, in run`; the suite's own with their
    folder, `segcore/trainer.py, line 120, in fit`.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(start, file.seek(0, 2) - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    blocks = [block for block in BLOCK.findall(text) if MAIN in block]
    frames = FRAME.findall(blocks[-1]) if blocks else []
    return [f"{shown(file)}, line {line}, in {name}" for file, line, name in frames[:MAX_FRAMES]]


def shown(file: str) -> str:
    """A file of the suite from its package on, any other by its name."""
    own = file.rpartition(f"/{PACKAGE}")[2]
    return Path(file).name if own == file else PACKAGE + own


def summarize(calls: list[str]) -> str:
    """The innermost call, and where in the suite that came from."""
    own = next((call for call in calls if call.startswith(PACKAGE)), calls[0])
    return calls[0] if own == calls[0] else f"{calls[0]}, called from {own}"
