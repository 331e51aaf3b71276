"""Looks for installed packages with known vulnerabilities, with pip-audit.  Run by `make check`.

Where the advisory service cannot be reached, or does not answer in time, that is said and is no failure: a check must
be able to pass without the network.  Exit status 1 where a vulnerability is known; the text says what to do.
"""

import importlib.metadata
import json
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

# Advisories that do not concern this suite, each with its reason:  "PYSEC-2026-1": "only the server, which ...".
IGNORED: dict[str, str] = {}

SERVICE = "https://pypi.org/pypi/{name}/{version}/json"
PROBE_SECONDS = 4
SECONDS = 60  # a first audit of 200 packages takes ten to twenty; later ones read pip's cache


def probe(service: str = SERVICE) -> str | None:
    """Why the service that pip-audit asks cannot be used; None where it can.  A mirror may have files alone."""
    pip = service.format(name="pip", version=importlib.metadata.version("pip"))
    try:
        with urllib.request.urlopen(pip, timeout=PROBE_SECONDS) as answer:
            known = json.load(answer)
    except (OSError, ValueError) as error:
        return f"{pip}: {error}"
    return None if "vulnerabilities" in known else f"{pip} tells nothing of vulnerabilities"


def audit() -> list[dict[str, Any]]:
    """What pip-audit finds out of each package that is installed here.  Raises RuntimeError where it cannot."""
    ignored = [part for advisory in IGNORED for part in ("--ignore-vuln", advisory)]
    command = [sys.executable, "-m", "pip_audit", "--local", "--progress-spinner", "off", "--timeout", "5", *ignored]
    try:
        done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, timeout=SECONDS)
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"pip-audit took more than {SECONDS} s") from None
    except (ValueError, KeyError, TypeError):
        raise RuntimeError((done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]) from None
    return found


def describe(packages: list[dict[str, Any]]) -> tuple[str, int]:
    """What was found, and the exit status."""
    checked = [package for package in packages if "skip_reason" not in package]
    if not checked:
        return "advisories: not checked: the service knows none of the installed packages", 0
    lines = [
        f"{package['name']} {package['version']}: {advisory['id']}; "
        f"mended in {', '.join(advisory['fix_versions']) or 'no version yet'}"
        for package in checked
        for advisory in package["vulns"]
    ]
    if not lines:
        rest = f"; {len(packages) - len(checked)} are unknown to the service" if len(packages) > len(checked) else ""
        return f"advisories: none for {len(checked)} installed packages{rest}", 0
    advice = (
        "Raise the lower bound in requirements.txt and install again. Where there is no mended version, or the "
        "suite does not use what is broken, add the advisory with the reason to IGNORED in tests/check_advisories.py."
    )
    return "\n".join(["advisories:", *lines, advice]), 1


def main(service: str = SERVICE) -> int:
    """The check."""
    problem = probe(service)
    if problem is None:
        try:
            text, status = describe(audit())
        except RuntimeError as error:
            problem = str(error)
    if problem is not None:
        text, status = f"advisories: not checked, the service cannot be used here ({problem})", 0
    print(text, file=sys.stderr if status else sys.stdout)
    return status


if __name__ == "__main__":
    sys.exit(main())
