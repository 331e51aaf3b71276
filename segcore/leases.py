"""Locks that work on storage that machines share, and that outlive no owner."""

from pathlib import Path

from filelock import SoftFileLease

# A lease that was not renewed for so long is taken over: more than storage is ever away, less than anybody waits. The
# time passes on the clock of whoever waits, so that neither a clock that jumps nor one that is wrong matters.
LEASE_SECONDS = 60.0


def make_lease(path: Path) -> SoftFileLease:
    """A lease, a file that its owner renews while it holds it; any thread of this process may give it back.

    An owner that died on this machine is seen at once, one on another after LEASE_SECONDS.  Where an owner was held up
    for longer than that, somebody else may have it, and its `compromise` says so.
    """
    return SoftFileLease(path, lease_duration=LEASE_SECONDS, thread_local=False)
