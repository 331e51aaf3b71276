import subprocess

import pytest
import torch

from segcore.execution import environment


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with one committed file."""
    monkeypatch.setattr(environment, "PROJECT", tmp_path)
    for command in (
        ["init", "-q"],
        ["config", "user.email", "a@b.c"],
        ["config", "user.name", "a"],
        ["commit", "-q", "--allow-empty", "-m", "first"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "code.py").write_text("x = 1\n")
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    subprocess.run(["git", "commit", "-q", "-m", "second"], cwd=tmp_path, check=True)
    return tmp_path


def test_a_clean_tree_has_a_commit_and_no_diff(repository):
    facts = environment.describe_environment(torch.device("cpu"), threads=2)
    assert len(facts["git_commit"]) == 40
    assert facts["git_dirty"] is False
    assert facts["device"] == "cpu"
    assert facts["threads"] == 2
    assert facts["torch"] == torch.__version__.partition("+")[0]
    assert environment.git_diff() is None


def test_a_changed_tree_is_dirty_whatever_its_bytes(repository):
    (repository / "code.py").write_bytes("x = 'é'\n".encode("latin-1"))
    (repository / "new.py").write_text("y = 2\n")
    diff = environment.git_diff()
    assert "-x = 1" in diff
    assert "untracked: new.py" in diff
    assert environment.describe_environment(torch.device("cpu"), 1)["git_dirty"] is True


def test_outside_a_repository_the_code_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "PROJECT", tmp_path)
    facts = environment.describe_environment(torch.device("cpu"), 1)
    assert facts["git_commit"] is None
    assert facts["git_dirty"] is None


def test_packages_are_listed_once_each():
    lines = environment.installed_packages().splitlines()
    assert any(line.startswith("torch==") for line in lines)
    assert len(lines) == len(set(lines))
