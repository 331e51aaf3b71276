import os
import subprocess
import sys

import pytest

from segcore.execution.allocator import KEEP_MEMORY
from segcore.execution.variables import PROJECT, settings_of_libraries, start_anew, worker_environment

OURS = ("GLIBC_TUNABLES", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in OURS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("own", "added"),
    [
        ({}, {"GLIBC_TUNABLES": KEEP_MEMORY, "GOMP_SPINCOUNT": "1000"}),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}, {"GOMP_SPINCOUNT": "1000"}),
        ({"GOMP_SPINCOUNT": "5"}, {"GLIBC_TUNABLES": KEEP_MEMORY}),
        ({"OMP_WAIT_POLICY": "active"}, {"GLIBC_TUNABLES": KEEP_MEMORY}),
    ],
)
def test_what_the_user_has_set_stays(monkeypatch, own, added):
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert settings_of_libraries() == added
    environment = worker_environment()
    assert {name: environment[name] for name in OURS if name in environment} == own | added


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_a_program_starts_anew_once_with_its_arguments():
    code = f"""
import os, sys
sys.path.insert(0, {str(PROJECT)!r})
from segcore.execution.variables import start_anew
print("here", flush=True)
start_anew()
print(sys.argv[1:], os.environ["GOMP_SPINCOUNT"])
"""
    command = [sys.executable, "-c", code, "one", "two words"]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=True)
    assert done.stdout == "here\nhere\n['one', 'two words'] 1000\n"


def test_a_program_that_has_all_goes_on(monkeypatch):
    for name, value in settings_of_libraries().items():
        monkeypatch.setenv(name, value)
    begun = []
    monkeypatch.setattr(os, "execv", lambda *arguments: begun.append(arguments))
    start_anew()
    assert begun == []
