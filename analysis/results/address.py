"""Where MLflow is, and texts that may be shown of it.

The rules for credentials are those of `segcore.credentials` and `segcore.tracking.address`, which this package does not
know; `tests/test_addresses.py` holds both to one list.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

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
    r"([?&;](?:[\w.-]*(?:token|signature|password|secret|credential|api[_-]?key|access[_-]?key)[\w.-]*|sig|pwd)=)"
    r"[^&\s'\"#]+",
    re.IGNORECASE,
)


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or `mlflow.db` in the current folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{Path(DATABASE).absolute()}"


def scheme_of(uri: str) -> str:
    """What an address begins with, without a database's driver: http, postgresql, sqlite; empty for a folder's path."""
    return (re.match(r"([A-Za-z][\w.-]*)(?:\+\w+)?:", uri) or ("", ""))[1].lower()


def is_readable(uri: str) -> bool:
    """Whether an address has the parts that it needs."""
    try:
        parts = urlsplit(uri)
        # The port is only looked at here, which fails where it is none.
        return scheme_of(uri) not in SERVERS or bool(parts.hostname and parts.port != 0)
    except ValueError:  # whose text may show the password
        return False


def without_credentials(text: str) -> str:
    """The text without user name and password of `tracking_uri()`, and of other addresses."""
    uri = tracking_uri()
    user = "" if scheme_of(uri) in ("sqlite", "file") else uri.partition("://")[2].rpartition("@")[0]
    if user:
        text = text.replace(f"{user}@", "")
        password = user.partition(":")[2]
        for secret in {password, unquote(password)}:
            text = text.replace(secret, LEFT_OUT) if len(secret) >= SHORTEST_PASSWORD else text
    return KEY.sub(rf"\1{LEFT_OUT}", USER.sub(r"\1", text))


def shown_uri() -> str:
    """`tracking_uri()` as messages show it."""
    return without_credentials(tracking_uri())
