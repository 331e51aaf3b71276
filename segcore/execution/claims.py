"""Whose a run is: one process's alone, on this machine and on all that share `runs/`.

Two locks, because each sees what the other cannot. `lock` is a lock of the system, which the workers inherit: it is
free when the last of them is gone, however they went, but not every storage carries it to other machines. `claim` is a
lease, a file that its owner renews: it works on every storage, but that of a dead owner is taken over only when it has
not changed for a while. (An owner that died on the same machine is seen at once.)
"""

import errno
import fcntl
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from filelock import SoftFileLease, Timeout

from segcore.execution.folder import RunFolder
from segcore.execution.stopping import STOP_SECONDS
from segcore.leases import LEASE_SECONDS, make_lease

LOCK, LEASE = "lock", "claim"
# Tells a worker the token of the claim that it works under.
CLAIM_VARIABLE = "SEGCORE_CLAIM"
# Another lease in the folder, of whoever delivers it to MLflow (segcore.tracking); it is no claim on the run.
DELIVERY = "delivery"

# What storage answers that has no locks of the system, such as Lustre mounted without `flock`, and some of FUSE.
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)

POLL_SECONDS = 0.2
# A dead owner's lease has expired by then, and a worker whose owner died has stopped.
MOST_WAITING_SECONDS = LEASE_SECONDS + STOP_SECONDS


@dataclass
class Claim:
    """A run's folder that is this process's.  lock: a descriptor for its workers to inherit.

    is_lost: whether somebody else has taken it over, since this process was held up for longer than a lease lasts.
    """

    lock: int
    lease: SoftFileLease

    @property
    def is_lost(self) -> bool:
        """Whether the lease is somebody else's by now."""
        return self.lease.compromise is not None

    @property
    def token(self) -> str:
        """What the lease's file tells this claim from others by."""
        return self.lease.token or ""

    def release(self) -> None:
        """Leave the run to others; workers that inherited the lock hold on to that."""
        self.lease.release()
        os.close(self.lock)


@dataclass
class Claims:
    """Takes claims, and remembers since when those of others have not changed."""

    leases: dict[Path, SoftFileLease] = field(default_factory=dict)

    def take(self, folder: RunFolder) -> Claim | None:
        """The claim on a run; None where it is another's.  Never waits: ask again.  Raises OSError."""
        folder.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            lock(descriptor)
            lease = self.leases.setdefault(folder.path, make_lease(folder.path / LEASE))
            lease.acquire(timeout=0)
        except (BlockingIOError, Timeout):
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        del self.leases[folder.path]
        return Claim(descriptor, lease)


def lock(descriptor: int) -> None:
    """Take the system's lock, where the storage has any; else the lease is all there is.  Raises BlockingIOError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise


def is_taken_over(folder: RunFolder) -> bool:
    """Whether the run that this worker computes is another process's by now: its owner was held up for too long.

    The owner itself may still be held up, and cannot say so.
    """
    token = os.environ.get(CLAIM_VARIABLE)
    try:
        lines = (folder.path / LEASE).read_text(errors="replace").splitlines()
    except OSError:
        return False  # its owner is about to find out
    tokens = [line.removeprefix("token=") for line in lines if line.startswith("token=")]
    # A line that is being written is shorter.
    return token is not None and any(len(other) == len(token) and other != token for other in tokens)


def wait_for_claim(folder: RunFolder, seconds: float = MOST_WAITING_SECONDS) -> Claim | None:
    """The claim on a run, as soon as its owner, if that is dead, has lost it; None where it is alive."""
    claims, deadline = Claims(), time.monotonic() + seconds
    while (claim := claims.take(folder)) is None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return claim
