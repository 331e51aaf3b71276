"""Who delivers a run's folder: one process at a time, on any machine that shares it.

A lease file in the folder says whose it is (`segcore/leases.py`). A holder that was only stopped for longer than a
lease lasts (a laptop that slept) may go on beside the new one: both then send the same records under the same times,
which MLflow keeps once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from filelock import SoftFileLease, Timeout

from segcore.leases import make_lease

LEASE = "delivery"


class DeliveredElsewhere(Exception):  # noqa: N818  # no error: it is being done
    """Another process is delivering this folder right now."""


@contextmanager
def delivering(folder: Path) -> Iterator[None]:
    """Inside, no other process delivers the folder.

    Does not wait: raises DeliveredElsewhere where another one is at it, and OSError where the folder cannot be written.
    """
    lease = _lease(folder.absolute())
    try:
        hold = lease.acquire(blocking=False)
    except Timeout:
        raise DeliveredElsewhere("another process is delivering it") from None
    with hold:
        yield


# Kept, because each lease object remembers since when it has seen another holder's file untouched.
@lru_cache(maxsize=100_000)
def _lease(folder: Path) -> SoftFileLease:
    return make_lease(folder / LEASE)
