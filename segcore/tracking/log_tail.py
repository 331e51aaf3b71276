"""The last lines of a run's log, as MLflow shows them.  They are whatever the process printed: just text."""

import os
import re
from pathlib import Path

from segcore.credentials import clean_log
from segcore.tracking.address import without_credentials

NUM_LINES = 20
# Fits, with the sentence above it, into one of MLflow's tags (8,000 characters).
MAX_CHARACTERS = 4_000
# Of a terminal: colours, movements of the cursor, titles.
TERMINAL_CODES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")


def read_tail(log: Path) -> str:
    """The last lines of a log, without control characters; empty where there is none."""
    try:
        with log.open("rb") as file:
            # A character takes at most four bytes; codes and repaints of a line are not shown.
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16 * MAX_CHARACTERS))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    # Cleaned first: of a private key, the last lines alone do not say what they are.
    shown = clean_log(without_credentials("\n".join(_shown(line) for line in text.split("\n"))))
    kept = "\n".join([line for line in shown.splitlines() if line.strip()][-NUM_LINES:])
    return kept if len(kept) <= MAX_CHARACTERS else "…" + kept[1 - MAX_CHARACTERS :]


def _shown(line: str) -> str:
    """What is left of a line on a terminal: a bar that was repainted stands once."""
    last = TERMINAL_CODES.sub("", line.rstrip("\r")).rpartition("\r")[2]
    return "".join(letter for letter in last.replace("\t", "    ") if letter.isprintable())


def code_block(tail: str) -> str:
    """Markdown that shows lines without control characters as they are.

    Indented, because nothing ends such a block but a line that is not; a fence could be closed by what it encloses.
    """
    return "\n".join(f"    {line}" for line in tail.split("\n"))
