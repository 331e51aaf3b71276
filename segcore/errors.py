"""The one exception that is meant for the user."""


class UserError(Exception):
    """The request or its files are wrong: the message names file, key and value and says what to do; exit status 2."""
