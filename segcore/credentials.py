"""What looks like a credential, and texts without it: nothing of the kind belongs into params, tags, logs or artifacts.

A line too many that is left out costs a line of a diff; one too few costs a password.  So this errs to the first side.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import PurePosixPath
from typing import Any

LEFT_OUT = "[left out: looks like a credential]"
# More than any private key has, whose end may be missing.
KEY_LINES = 100

# Files that hold keys and passwords by their purpose.
SECRET_FILES = (
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".pgpass", ".pypirc", ".npmrc", ".git-credentials"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.gpg", "*.asc", "*.ppk"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*credential*", "*secret*", "*password*", "kaggle.json"),
)
SECRET_FOLDERS = (".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", ".gcloud")

# User name and password of an address.  A path that was an address has lost one of its slashes.  Of all repeats the
# length is bounded: a log may hold lines of any length.
USER_OF_ADDRESS = re.compile(r"(?<=:/)(/?)[^\s/?#'\"<>\[]{0,300}@")
# The same with a slash in the password; what looks like a port and a path is none.
SLASH_IN_PASSWORD = re.compile(r"(?<=:/)(/)[^\s:/?#'\"<>\[]{1,100}:(?!\d+/)[^\s?#'\"<>]{0,300}@")
# Signatures and tokens behind an address's question mark.
KEY_OF_ADDRESS = re.compile(
    r"([?&;](?:[\w.-]*(?:token|signature|passw(?:or)?d|secret|credential|api[_-]?key|access[_-]?key)[\w.-]*|sig|pwd|odbc_connect)=)"
    r"[^&\s'\"#]+",
    re.IGNORECASE,
)
# `db_password = hunter2`, `"api_key": "..."`, `Authorization: ...`; an expression, such as a call, is none.
NAMED = re.compile(
    r"(?:passw(?:or)?d|passwd|passphrase|\bpwd\b|secret|token|api[_-]?key|access[_-]?key|account[_-]?key|"
    r"private[_-]?key|credential|authorization)[\w-]{0,40}[\"'\]]{0,4}\s{0,20}(?::=|=>|[:=])\s{0,20}"
    r"(?:(?:Bearer|Basic|Digest|Negotiate|Token)[ ]{1,9})?"
    r"(?:[rbuf]{0,2}[\"'][^\"']{1,300}[\"']?|[^\s\"'(\[{,;]{1,300}(?![^\s]{0,300}[(\[]))",
    re.IGNORECASE,
)
# `--password hunter2`, `MLFLOW_TRACKING_TOKEN hunter2`, `Bearer ...`, `curl --user bob:hunter2`.
SAID = re.compile(
    r"(?:(?:^|\s)--?(?:passw(?:or)?d|passphrase|token|secret|api[_-]?key)|"
    r"\b[A-Z_]{0,60}(?:PASSWORD|TOKEN|SECRET|API_KEY))[ ]{1,9}"
    r"(?!(?:is|are|was|has|not|to|in|of|for|from|and|or|must|can|cannot|missing|loss)\b)[^\s\-(\[{]\S{0,300}"
    r"|\bBearer[ ]+[\w.~+/-]{8,}|(?:^|\s)(?:-u|--user)[ ]+[^\s:]{1,100}:\S{1,300}"
)
# Of services that the library below does not know.
FORMATS = re.compile(r"\b(?:hf_[A-Za-z0-9]{20,}|glpat-[\w-]{16,}|dapi[0-9a-f]{32}|AIza[\w-]{30,}|ya29\.[\w-]{20,})")


def without_credentials(text: str) -> str:
    """The text with addresses that have neither a user's name and password nor a key."""
    without_users = SLASH_IN_PASSWORD.sub(r"\1", USER_OF_ADDRESS.sub(r"\1", text))
    return KEY_OF_ADDRESS.sub(rf"\1{LEFT_OUT}", without_users)


def user_of(uri: str) -> str:
    """User name and password of an address, whatever signs are in them; empty where it has none.

    Of a server's, what stands before the last @ of its host; of one whose password hides the host, before the last @.
    Of a database's, as SQLAlchemy reads it, with all that looks like another @ of the password.
    """
    scheme, _, rest = uri.partition("://")
    scheme = scheme.partition("+")[0].lower()
    if scheme in ("sqlite", "file"):
        return ""
    if scheme in ("http", "https"):
        host = re.split(r"[/?#]", rest, maxsplit=1)[0]
        is_host = "@" in host or re.fullmatch(r"[^:]*(?::\d*)?|\[.*\](?::\d*)?", host)
        return (host if is_host else rest).rpartition("@")[0]
    found = re.match(r"[^:/]*(?::[^@]*)?@", rest)
    if found is None:
        return ""
    host = re.split(r"[/?]", rest[found.end() :], maxsplit=1)[0]
    return rest[: found.end() + host.rfind("@")] if "@" in host else found[0][:-1]


def with_server(command: str) -> str:
    """A command that a user is told to give, with the MLFLOW_TRACKING_URI of this call before it, if there is one.

    Three dots stand for an address with a password or a key in it.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return command
    is_shown = not user_of(uri) and without_credentials(uri) == uri
    return f"MLFLOW_TRACKING_URI={shlex.quote(uri) if is_shown else '...'} {command}"


def clean_reason(reason: str) -> str:
    """The reason of an end, which may be any error's text, with what looks like a credential left out of it."""
    for kind in (SAID, FORMATS, NAMED):
        reason = kind.sub(LEFT_OUT, reason)
    reason = without_credentials(reason)
    return LEFT_OUT if any(found_by(reason)) else reason


def has_credential(line: str) -> bool:
    """Whether a line looks as if it held a key, a token or a password."""
    return any(kind.search(line) for kind in (NAMED, SAID, FORMATS)) or any(found_by(line))


def clean_log(text: str) -> str:
    """A log without what looks like a credential; where a line is left out, it says so."""
    return "".join(f"{line}\n" for line in clean_lines(text.splitlines(), lambda line: LEFT_OUT))


def found_by(line: str) -> Iterator[bool]:
    """What each of the library's detectors says of a line."""
    for detector in detectors():
        yield any(True for _ in detector.analyze_string(line))


@cache
def detectors() -> tuple[Any, ...]:
    """Those of detect-secrets that know a service's format: they only look at the text, and ask no service.

    Not its measures of entropy, which take hashes for keys, nor addresses of machines; names are looked for above.
    """
    # Here, because it takes a fifth of a second to import, and most runs have nothing to look through.
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.plugins.base import RegexBasedDetector

    known: Iterable[Any] = get_mapping_from_secret_type_to_class().values()
    return tuple(
        detector()
        for detector in known
        if issubclass(detector, RegexBasedDetector) and detector.__name__ != "IPPublicDetector"
    )


def is_secret_file(name: str) -> bool:
    """Whether a file holds keys or passwords, by its name.  name: relative to a folder, with slashes."""
    *folders, file = PurePosixPath(name.strip('"').casefold()).parts or ("",)
    return any(folder in SECRET_FOLDERS for folder in folders) or any(fnmatch(file, kind) for kind in SECRET_FILES)


def clean_diff(diff: str) -> str:
    """A git diff without what looks like a credential; where something is left out, it says so.

    diff: made with `--no-renames` and the prefixes a/ and b/, so that both names of a file are the same.
    """
    return "".join(clean_file(part) for part in re.split(r"^(?=diff --git )", diff, flags=re.MULTILINE))


def clean_file(part: str) -> str:
    """What a git diff says of one file, cleaned."""
    header, *lines = part.splitlines(keepends=True) or [""]
    names = header.removeprefix("diff --git ").strip()
    if header.startswith("diff --git ") and is_secret_file(names[len(names) // 2 + 1 :].removeprefix('"')[2:]):
        return f"{header}{LEFT_OUT}\n"
    # The first letter of a line says whether it was added or removed.
    return header + "".join(clean_lines(lines, lambda line: f"{line[:1].strip()}{LEFT_OUT}\n"))


def clean_lines(lines: Iterable[str], replacement: Callable[[str], str]) -> Iterator[str]:
    """Lines without what looks like a credential; of a private key, all from its first to its last are left out."""
    left_of_key = 0
    for line in lines:
        if re.search(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY", line):
            left_of_key = KEY_LINES
        yield replacement(line) if left_of_key or has_credential(line) else without_credentials(line)
        left_of_key = 0 if re.search(r"-----END [A-Z ]{0,40}PRIVATE KEY", line) else max(0, left_of_key - 1)
