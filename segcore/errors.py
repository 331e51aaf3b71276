"""The exceptions that are meant for the user."""


class UserError(Exception):
    """The request or its files are wrong: the message names file, key and value and says what to do; exit status 2."""


class MissingDataError(UserError):
    """There is no dataset where the settings say, and none was to be downloaded."""
