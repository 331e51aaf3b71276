"""Where MLflow is: MLFLOW_TRACKING_URI, or a database in the current folder; and texts that may be shown of it."""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from segcore import credentials
from segcore.errors import UserError

SERVERS = ("http", "https")
DATABASES = ("postgresql", "mysql", "mssql")
# A shorter password is part of too many words to be looked for by itself.
SHORTEST_PASSWORD = 5


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or MLflow's default: `mlflow.db` in the current folder, with the artifacts in `mlruns/`.

    The default is made absolute, so that it stays the same database whatever the process does later.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///" + quote(str(Path("mlflow.db").absolute()))


def scheme_of(uri: str) -> str:
    """What an address begins with, without a database's driver: http, postgresql, sqlite; empty for a folder's path."""
    return (re.match(r"([A-Za-z][\w.-]*)(?:\+\w+)?:", uri) or ("", ""))[1].lower()


def shown_uri() -> str:
    """`tracking_uri()` as messages show it: without user name and password."""
    uri = tracking_uri()
    user = credentials.user_of(uri)
    return credentials.without_credentials(uri.replace(f"{user}@", "", 1) if user else uri)


def without_credentials(text: str) -> str:
    """The text without user name and password of `tracking_uri()`, and of other addresses."""
    user = credentials.user_of(tracking_uri())
    if user:
        text = text.replace(f"{user}@", "")
        name, _, password = user.partition(":")
        for secret in {password, unquote(password)}:
            # One that is the name of something as well is no secret, and would be left out of half of the text.
            if len(secret) >= SHORTEST_PASSWORD and secret != name and secret not in shown_uri():
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", credentials.LEFT_OUT, text)
    return credentials.without_credentials(text)


def require_address() -> None:
    """Raises UserError where `tracking_uri()` is none that MLflow could use."""
    uri = tracking_uri()
    scheme = scheme_of(uri)
    if scheme in ("", "file"):
        raise UserError(
            f"MLFLOW_TRACKING_URI={shown_uri()} is a folder, and MLflow no longer writes to plain folders. Unset it to "
            "use mlflow.db in the current folder, or set a database (sqlite:////absolute/path/mlflow.db) or a server "
            "(http://127.0.0.1:5000)."
        )
    if scheme == "sqlite" and uri.partition("?")[0].partition("://")[2].strip("/") in ("", ":memory:"):
        raise UserError(
            "MLFLOW_TRACKING_URI is a database in memory, which would be gone with this call. Unset it to use "
            "mlflow.db in the current folder, or name a file (sqlite:////absolute/path/mlflow.db)."
        )
    if not is_readable(uri):
        raise UserError(
            "MLFLOW_TRACKING_URI is no address that can be read. A server's is like http://127.0.0.1:5000, a "
            "database's like postgresql+psycopg://HOST/NAME, each with USER:PASSWORD@ before the host where it is "
            "needed; in a password, # is written as %23, / as %2F, ? as %3F, @ as %40, [ as %5B."
        )


def is_readable(uri: str) -> bool:
    """Whether an address has the parts that it needs."""
    scheme = scheme_of(uri)
    try:
        parts = urlsplit(uri)
        if scheme in DATABASES:
            make_url(uri)
            return "@" not in credentials.user_of(uri)  # else what follows it would be taken for the host
        # The port is only looked at here, which fails where it is none.
        return scheme not in SERVERS or bool(parts.hostname and parts.port != 0)
    except (ValueError, ArgumentError):  # whose texts may show the password
        return False
