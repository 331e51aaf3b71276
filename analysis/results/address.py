"""Where MLflow is, and texts that may be shown of it.

The rules for credentials are those of `segcore.credentials` and `segcore.tracking.address`, which this package does not
know; `tests/test_addresses.py` holds both to one list.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

DATABASE = "mlflow.db"
SQLITE = "sqlite:///"
SERVERS = ("http", "https")
DATABASES = ("postgresql", "mysql", "mssql")
LEFT_OUT = "[left out: looks like a credential]"
# A shorter password is part of too many words to be looked for by itself.
SHORTEST_PASSWORD = 5
# `USER:PASSWORD@` of an address; what looks like a port and a path is none.
USER = re.compile(r"(?<=:/)(/?)(?:[^\s/?#'\"<>\[]{0,300}|[^\s:/?#'\"<>\[]{1,100}:(?!\d+/)[^\s?#'\"<>]{0,300})@")
# Behind its question mark.
KEY = re.compile(
    r"([?&;](?:[\w.-]*(?:token|signature|passw(?:or)?d|secret|credential|api[_-]?key|access[_-]?key)[\w.-]*|sig|pwd|odbc_connect)=)"
    r"[^&\s'\"#]+",
    re.IGNORECASE,
)


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or `mlflow.db` in the current folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{Path(DATABASE).absolute()}"


def scheme_of(uri: str) -> str:
    """What an address begins with, without a database's driver: http, postgresql, sqlite; empty for a folder's path."""
    return (re.match(r"([A-Za-z][\w.-]*)(?:\+\w+)?:", uri) or ("", ""))[1].lower()


def user_of(uri: str) -> str:
    """User name and password of an address, whatever signs are in them; empty where it has none."""
    rest = uri.partition("://")[2]
    if scheme_of(uri) in ("sqlite", "file"):
        return ""
    if scheme_of(uri) in SERVERS:
        host = re.split(r"[/?#]", rest, maxsplit=1)[0]
        is_host = "@" in host or re.fullmatch(r"[^:]*(?::\d*)?|\[.*\](?::\d*)?", host)
        return (host if is_host else rest).rpartition("@")[0]
    # As SQLAlchemy reads it.
    found = re.match(r"[^:/]*(?::[^@]*)?@", rest)
    if found is None:
        return ""
    host = re.split(r"[/?]", rest[found.end() :], maxsplit=1)[0]
    return rest[: found.end() + host.rfind("@")] if "@" in host else found[0][:-1]


def is_readable(uri: str) -> bool:
    """Whether an address has the parts that it needs."""
    try:
        parts = urlsplit(uri)
        if scheme_of(uri) in DATABASES:
            make_url(uri)
            return "@" not in user_of(uri)  # else what follows it would be taken for the host
        # The port is only looked at here, which fails where it is none.
        return scheme_of(uri) not in SERVERS or bool(parts.hostname and parts.port != 0)
    except (ValueError, ArgumentError):  # whose texts may show the password
        return False


def without_users(text: str) -> str:
    """The text with addresses that have neither a user's name and password nor a key."""
    return KEY.sub(rf"\1{LEFT_OUT}", USER.sub(r"\1", text))


def shown_uri() -> str:
    """`tracking_uri()` as messages show it: without user name and password."""
    uri = tracking_uri()
    user = user_of(uri)
    return without_users(uri.replace(f"{user}@", "", 1) if user else uri)


def without_credentials(text: str) -> str:
    """The text without user name and password of `tracking_uri()`, and of other addresses."""
    user = user_of(tracking_uri())
    if user:
        text = text.replace(f"{user}@", "")
        name, _, password = user.partition(":")
        for secret in {password, unquote(password)}:
            # One that is the name of something as well is no secret, and would be left out of half of the text.
            if len(secret) >= SHORTEST_PASSWORD and secret != name and secret not in shown_uri():
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", LEFT_OUT, text)
    return without_users(text)
