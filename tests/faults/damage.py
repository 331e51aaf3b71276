"""Damage to the bytes of a file, drawn from a generator, and the count of what becomes of many such files."""

import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

SLICE = 64  # bytes that are cut out, repeated or overwritten at a time, at most


def flip_bit(data: bytearray, draw: random.Random) -> None:
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def set_byte(data: bytearray, draw: random.Random) -> None:
    data[draw.randrange(len(data))] = draw.choice([0, 9, 10, 13, 32, 127, 128, 255, draw.randrange(256)])


def truncate(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def cut_out(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data))
    del data[start : start + draw.randint(1, SLICE)]


def repeat(data: bytearray, draw: random.Random) -> None:
    start, place = draw.randrange(len(data)), draw.randrange(len(data))
    data[place:place] = data[start : start + draw.randint(1, SLICE)]


def insert(data: bytearray, draw: random.Random) -> None:
    place = draw.randrange(len(data))
    data[place:place] = draw.randbytes(draw.randint(1, 8))


def overwrite(data: bytearray, draw: random.Random) -> None:
    start, place, length = draw.randrange(len(data)), draw.randrange(len(data)), draw.randint(1, SLICE)
    piece = data[start : start + length]
    data[place : place + len(piece)] = piece


def zero(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data))
    length = min(len(data) - start, draw.randint(1, SLICE))
    data[start : start + length] = bytes(length)


KINDS = (flip_bit, flip_bit, set_byte, set_byte, truncate, cut_out, repeat, insert, overwrite, zero)


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The content with one to four kinds of damage."""
    data = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 3, 4])):
        if data:
            draw.choice(KINDS)(data, draw)
    return bytes(data)


@contextmanager
def within(seconds: float, case: str) -> Iterator[None]:
    """Ends what takes longer: a hang is a failure of its own."""

    def give_up(signum: int, frame: FrameType | None) -> None:
        raise AssertionError(f"{case} took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def try_reader(
    read: Callable[[Path], Any],
    refusal: type[Exception],
    check: Callable[[Any, bytes], None],
    path: Path,
    cases: Iterator[bytes],
    seconds: float = 20,
) -> Counter[str]:
    """Has a reader read each case from `path`, and counts what it accepted and refused.

    Anything but an answer or a `refusal` with a message is a failure.  check: compares what was accepted with the bytes
    of its file; it raises where they do not go together.
    """
    counts: Counter[str] = Counter()
    for number, content in enumerate(cases):
        path.write_bytes(content)
        try:
            with within(seconds, f"case {number}"):
                found = read(path)
        except refusal as error:
            assert str(error).strip(), "a refusal has to say why"
            counts["refused"] += 1
        # Everything else is what this looks for; the case is kept so that it can be looked at.
        except BaseException as error:
            raise AssertionError(f"case {number}: {type(error).__name__}: {error}; {content[:3000]!r}") from error
        else:
            check(found, content)
            counts["accepted"] += 1
    counts["cases"] = counts["accepted"] + counts["refused"]
    return counts


def tell(what: str, counts: Counter[str]) -> None:
    """Prints the counts, for docs/reliability.md: pytest shows them with -s, and `make test-faults` does."""
    print(f"\n{what}: {counts['cases']:,} cases, {counts['accepted']:,} accepted, {counts['refused']:,} refused")
