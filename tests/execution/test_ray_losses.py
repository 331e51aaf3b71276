"""Runs whose nodes are gone for good, and whom a cluster that a call starts listens to."""

import json
import subprocess
import sys
import time

import pytest

from segcore.execution.attempts import start_attempt
from segcore.execution.claims import Claims
from segcore.execution.folder import folder_of
from segcore.execution.ray import RayJob, RayLauncher
from segcore.execution.ray_cluster import TOKEN_VARIABLES, Cluster
from tests.execution.stand_ins import Heard
from tests.faults.calls import PROJECT

pytest.importorskip("ray", reason="needs requirements-ray.txt")


@pytest.fixture
def lost(make_plan):
    """A launcher, and a run of it whose task has come to nothing while it was computed."""
    launcher = RayLauncher(Cluster("this", ()), 0, None, None, Claims())
    run = make_plan().runs[0]
    start_attempt(run, "float32").set_state("running")
    job = RayJob(run, folder_of(run), None, is_shown=True, failure="its node or its task is gone")
    job.deadline = time.monotonic() + 60
    launcher.gone.append(job)
    return launcher, job


def test_a_run_that_nobody_holds_any_more_is_noted_as_lost(lost):
    (launcher, job), heard = lost, Heard()
    launcher.note_losses(heard)
    assert (launcher.gone, heard.ended) == ([], [job])
    assert job.folder.state == "lost"
    assert job.outcome == ("failed", "its node or its task is gone")
    claim = Claims().take(job.folder)  # and it is free for the next call
    assert claim is not None
    claim.release()


def test_a_run_whose_claim_has_not_expired_is_waited_for_and_not_for_ever(lost):
    (launcher, job), heard = lost, Heard()
    claim = Claims().take(job.folder)
    launcher.note_losses(heard)
    assert (launcher.gone, heard.ended) == ([job], [])
    job.deadline = time.monotonic()
    launcher.note_losses(heard)
    assert (launcher.gone, heard.ended) == ([], [job])
    assert job.folder.state == "running"  # somebody may be at work on it
    claim.release()


def test_a_run_that_ended_on_its_own_keeps_its_end(lost):
    (launcher, job), heard = lost, Heard()
    job.folder.set_state("finished")
    launcher.note_losses(heard)
    assert (heard.ended, job.folder.state) == ([job], "finished")


ASK = """
import json, os
from segcore.execution.ray_cluster import TOKEN_VARIABLES, import_ray
import_ray()
print(json.dumps({name: os.environ[name] for name in TOKEN_VARIABLES if name in os.environ}))
"""


def variables_after_import(home, **own):
    """What tells Ray of its users once this launcher has imported it, in a process with settings of its own."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), **own}
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_a_cluster_of_the_call_listens_to_those_who_know_its_token(tmp_path):
    first, second = variables_after_import(tmp_path), variables_after_import(tmp_path)
    assert first["RAY_AUTH_MODE"] == "token"
    assert len(first["RAY_AUTH_TOKEN"]) == 64
    assert first["RAY_AUTH_TOKEN"] != second["RAY_AUTH_TOKEN"]


def test_where_somebody_said_how_ray_knows_its_users_that_stands(tmp_path):
    for own in ({name: "disabled" if name == "RAY_AUTH_MODE" else "own"} for name in TOKEN_VARIABLES):
        assert variables_after_import(tmp_path, **own) == own
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("own")
    assert variables_after_import(tmp_path) == {}
