"""What the benchmarks' command lines share: checked numbers, the pictures, a word where the machine is busy."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from segcore.errors import UserError

PICTURES = Path("../shared/data/pets-600")
# So many processes that want a core on average over the last minute are more than a system does by itself.
IDLE_LOAD = 0.5


def at_least(least: int) -> Callable[[str], int]:
    """What reads a whole number that may not be smaller."""

    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{text}: must be at least {least}")
        return value

    return number


def add_pictures(parser: argparse.ArgumentParser, option: str = "--data", place: Path = PICTURES) -> None:
    """The option that names the pictures."""
    default = place if place.exists() else None
    parser.add_argument(
        option,
        type=Path,
        default=default,
        help="Oxford-IIIT Pet or a part of it, as a folder or its archives; default: "
        + (str(place) if default else "synthetic pictures of its size"),
    )


@contextmanager
def measuring(console: Console) -> Iterator[None]:
    """A measurement: says beforehand where other work would disturb it, and of wrong input what is wrong."""
    load = os.getloadavg()[0]
    if load > IDLE_LOAD:
        console.print(
            f"This machine is busy (load {load:.1f}): what is measured now tells nothing about an idle one.",
            style="yellow",
        )
    try:
        yield
    except UserError as error:
        sys.exit(str(error))
