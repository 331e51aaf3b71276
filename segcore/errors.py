"""The exceptions that are meant for the user."""

from segcore.credentials import without_credentials


class UserError(Exception):
    """The request or its files are wrong: the message names file, key and value and says what to do; exit status 2.

    Addresses in it lose user name and password: a message ends up in logs, and as a run's reason in MLflow.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class MissingDataError(UserError):
    """There is no dataset where the settings say, and none was to be downloaded."""
