"""House rules that no linter has: file lengths, notebooks without outputs, sizes.  Run by `make check`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_LINES = 300
MAX_BYTES = 2_000_000
MAX_RESULT_BYTES = 10_000_000


def tracked_files() -> list[Path]:
    """Every file that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    return [path for path in map(Path, listed.stdout.splitlines()) if path.is_file()]


def problems(files: list[Path]) -> Iterator[str]:
    """A line for each rule that a file breaks."""
    for path in files:
        if path.suffix == ".py" and (lines := len(path.read_text().splitlines())) >= MAX_LINES:
            yield f"{path}: {lines} lines; Python files stay under {MAX_LINES}"
        if path.suffix == ".ipynb" and any(cell.get("outputs") for cell in json.loads(path.read_text())["cells"]):
            yield f"{path}: stored with outputs"
        if path.stat().st_size > MAX_BYTES:
            yield f"{path}: {path.stat().st_size:,} bytes; files stay under {MAX_BYTES:,}"
    results = sum(path.stat().st_size for path in files if path.parts[0] == "docs")
    if results > MAX_RESULT_BYTES:
        yield f"docs: {results:,} bytes in all; results stay under {MAX_RESULT_BYTES:,}"


if __name__ == "__main__":
    found = list(problems(tracked_files()))
    print("\n".join(found) or "files: lengths, sizes and notebooks are as they should be")
    sys.exit(bool(found))
