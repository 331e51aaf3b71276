import re
import socket

import pytest

from tests import check_advisories

FINE = {"name": "numpy", "version": "2.0", "vulns": []}
BROKEN = {"name": "pillow", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"]}]}
UNKNOWN = {"name": "other", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "text", "status"),
    [
        ([FINE], "none for 1 installed packages", 0),
        ([FINE, UNKNOWN], "none for 1 installed packages; 1 are unknown", 0),
        ([UNKNOWN], "not checked: the service knows none", 0),
        ([FINE, BROKEN], r"pillow 1\.0: PYSEC-1; mended in 1\.1, 2\.0\nRaise the lower bound", 1),
        ([BROKEN | {"vulns": [{"id": "PYSEC-2", "fix_versions": []}]}], "PYSEC-2; mended in no version yet", 1),
    ],
)
def test_what_is_found_decides(packages, text, status):
    found, code = check_advisories.describe(packages)
    assert code == status
    assert re.search(text, found)


def test_a_service_that_is_away_or_silent_is_no_failure(capsys, monkeypatch):
    assert check_advisories.main("http://127.0.0.1:1/{name}/{version}") == 0
    assert "not checked, the service cannot be used here" in capsys.readouterr().out
    monkeypatch.setattr(check_advisories, "PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert check_advisories.main(f"http://127.0.0.1:{silent.getsockname()[1]}/{{name}}/{{version}}") == 0
    assert "timed out" in capsys.readouterr().out


def test_an_audit_that_takes_too_long_is_given_up(capsys, monkeypatch):
    monkeypatch.setattr(check_advisories, "SECONDS", 0.01)
    monkeypatch.setattr(check_advisories, "probe", lambda service: None)
    assert check_advisories.main() == 0
    assert "pip-audit took more than 0.01 s" in capsys.readouterr().out
