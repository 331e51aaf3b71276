"""Locks that work on storage that machines share, and that outlive no owner."""

from collections.abc import Callable
from pathlib import Path

from filelock import LeaseCompromise, SoftFileLease

# A lease that was not renewed for so long is taken over: more than storage is ever away, less than anybody waits. The
# time passes on the clock of whoever waits, so that neither a clock that jumps nor one that is wrong matters.
LEASE_SECONDS = 60.0


def make_lease(path: Path, on_lost: Callable[[LeaseCompromise], None] | None = None) -> SoftFileLease:
    """A lease, a file that its owner renews while it holds it; any thread of this process may give it back.

    An owner that died on this machine is seen at once, one on another after LEASE_SECONDS.  on_lost: called, in a
    thread, when somebody else has taken it over, because this process was held up for longer than that.
    """
    return SoftFileLease(path, lease_duration=LEASE_SECONDS, on_compromise=on_lost, thread_local=False)
