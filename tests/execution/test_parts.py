"""A run that goes on elsewhere tells of each machine, version and code that computed a part of it."""

import json

import pytest
import torch

from segcore.execution import parts
from segcore.execution.attempts import start_attempt
from segcore.execution.parts import earlier_values, note_part, write_environment

CPU = torch.device("cpu")


@pytest.fixture
def part(make_plan, monkeypatch):
    """A function that has a process note its environment in the run's folder, as if its code were another."""
    folder = start_attempt(make_plan().runs[0], "float32")

    def note(commit, diff=None, packages="torch==2\n", folder=folder):
        facts = {"git_commit": commit, "git_dirty": diff is not None, "host": "here"}
        monkeypatch.setattr(parts, "describe_environment", lambda device, threads: facts)
        monkeypatch.setattr(parts, "git_diff", lambda: diff)
        monkeypatch.setattr(parts, "installed_packages", lambda: packages)
        write_environment(folder, CPU, 1)
        return folder

    return note


def test_what_began_anew_tells_of_its_own_process_alone(part):
    part("a" * 40, diff="+x\n")
    folder = part("b" * 40)
    assert folder.read("environment")["git_commit"] == "b" * 40
    assert "earlier" not in folder.read("environment")
    assert not (folder.artifacts / "earlier").exists()


def test_what_went_on_with_other_code_tells_of_both(part):
    folder = part("a" * 40, diff="+x\n")
    folder.append("epochs", {"epoch": 1, "metrics": {}})
    first = folder.read("environment")
    part("b" * 40)
    now = folder.read("environment")
    assert (now["git_commit"], now["git_dirty"], now["git_diff"]) == ("b" * 40, False, None)
    assert now["earlier"] == {"git_commit": ["a" * 40], "git_dirty": [True], "git_diff": [first["git_diff"]]}
    kept = folder.artifacts / "earlier" / "1"
    assert (kept / "git.diff").read_text() == "+x\n"
    assert json.loads((kept / "environment.json").read_text()) == first
    assert (folder.artifacts / "git.diff").read_text() == ""  # MLflow may hold the earlier one already


def test_what_went_on_with_the_same_code_has_nothing_to_tell(part):
    folder = part("a" * 40, diff="+x\n")
    folder.append("epochs", {"epoch": 1, "metrics": {}})
    before = folder.read("environment")
    part("a" * 40, diff="+x\n")
    assert folder.read("environment") == before
    assert not (folder.artifacts / "earlier").exists()


def test_a_training_that_is_taken_over_tells_of_the_code_that_trained_it(part, make_plan):
    donor = part("a" * 40, diff="+x\n")
    taker = part("b" * 40, folder=start_attempt(make_plan().runs[1], "float32"))
    note_part(taker, donor, taker.read("environment"))
    assert taker.read("environment")["git_commit"] == "b" * 40
    assert taker.read("environment")["earlier"]["git_commit"] == ["a" * 40]
    assert (taker.artifacts / "earlier" / "1" / "git.diff").read_text() == "+x\n"


def test_values_of_all_earlier_parts_are_told_once_each():
    values = [{"commit": commit, "host": "here"} for commit in "aabbca"]
    before = values[0]
    for now in values[1:]:
        earlier = earlier_values(before, now)
        before = now | ({"earlier": earlier} if earlier else {})
    assert before == {"commit": "a", "host": "here", "earlier": {"commit": ["a", "b", "c"]}}
