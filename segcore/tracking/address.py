"""Where MLflow is: MLFLOW_TRACKING_URI, or a database in the current folder; and texts that may be shown of it."""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from segcore import credentials
from segcore.errors import UserError

SERVERS = ("http", "https")
DATABASES = ("postgresql", "mysql", "mssql")


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
    return without_credentials(tracking_uri())


def without_credentials(text: str) -> str:
    """The text without user name and password of `tracking_uri()`, and of other addresses."""
    user = credentials.user_of(tracking_uri())
    if user:
        text = text.replace(f"{user}@", "")
        password = user.partition(":")[2]
        for secret in {password, unquote(password)}:
            # A shorter one is part of too many words.
            if len(secret) >= 5:
                text = text.replace(secret, credentials.LEFT_OUT)
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
    if scheme == "sqlite" and (not (path := uri.partition("://")[2].strip("/")) or path == ":memory:"):
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
    try:
        parts = urlsplit(uri)
        # The port is only looked at here, which fails where it is none.
        return scheme_of(uri) not in SERVERS or bool(parts.hostname and parts.port != 0)
    except ValueError:  # whose text may show the password
        return False
