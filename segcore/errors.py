"""The exceptions that are meant for the user, and what errors of the system mean."""

import errno

from segcore.credentials import without_credentials

# What storage, most of all such as machines share, may answer now and no longer a moment later.
PASSING_ERRORS = (errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.ENOMEM)


class UserError(Exception):
    """The request or its files are wrong: the message names file, key and value and says what to do; exit status 2.

    Addresses in it lose user name and password: a message ends up in logs, and as a run's reason in MLflow.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class MissingDataError(UserError):
    """There is no dataset where the settings say, and none was to be downloaded."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether the system gave no memory; PyTorch says so of a CPU in a text alone."""
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)
