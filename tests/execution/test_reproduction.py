"""A reproduction that was cut short: gone on with, or begun anew."""

from dataclasses import replace

import pytest

from segcore.execution.attempts import start_attempt
from segcore.execution.folder import REPRODUCTIONS, folder_of
from segcore.execution.reproduction import claim_folder

NOW = {"git_commit": "b" * 40, "git_diff": None, "packages": "0123", "processor": "x", "device": "cpu", "threads": 2}


@pytest.mark.parametrize(
    ("before", "goes_on"),
    [
        (NOW, True),
        (NOW | {"host": "another"}, True),
        ({}, True),
        (NOW | {"git_commit": "a" * 40}, False),
        (NOW | {"git_diff": "4567"}, False),
        (NOW | {"packages": "89ab"}, False),
        (NOW | {"threads": 1}, False),
    ],
)
def test_with_other_code_packages_or_machine_it_begins_anew(make_plan, before, goes_on):
    run = make_plan().runs[0]
    run = replace(run, fingerprint=f"{REPRODUCTIONS}/{run.fingerprint}-1a2b")
    folder = folder_of(run)
    start_attempt(run, "float32", folder=folder)
    attempt = folder.read("run")["attempt"]
    if before:
        folder.write("environment", before)
    folder.set_state("interrupted", "by hand")
    claim_folder(run, environment=NOW | {"host": "this"}).release()
    assert (folder.read("run")["attempt"] == attempt) == goes_on
