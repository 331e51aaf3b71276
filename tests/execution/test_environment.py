import subprocess
import sys

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


def test_a_diff_holds_no_credentials_whatever_git_is_set_to(repository):
    for name in ("keys/.env", "id rsa.pem", "ключ.pem", "plain.ini"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("user = me\n")
    subprocess.run(["git", "add", "."], cwd=repository, check=True)
    subprocess.run(["git", "commit", "-q", "-m", "third"], cwd=repository, check=True)
    for setting in ("diff.noprefix=true", "diff.mnemonicPrefix=true", "color.ui=always", "diff.external=false"):
        subprocess.run(["git", "config", *setting.split("=")], cwd=repository, check=True)
    for name in ("keys/.env", "id rsa.pem", "ключ.pem"):
        (repository / name).write_text("swordfish\n")
    (repository / "plain.ini").write_text("user = me\ndb_password = swordfish\nurl = https://me:swordfish@host/\n")
    (repository / "code.py").rename(repository / "server.pem")
    subprocess.run(["git", "add", "."], cwd=repository, check=True)
    diff = environment.git_diff()
    assert "swordfish" not in diff
    assert diff.count("[left out: looks like a credential]") == 6  # four files, two lines
    assert diff.count("diff --git ") == 6
    assert " user = me\n" in diff
    assert "-x = 1" in diff


def test_outside_a_repository_the_code_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "PROJECT", tmp_path)
    facts = environment.describe_environment(torch.device("cpu"), 1)
    assert facts["git_commit"] is None
    assert facts["git_dirty"] is None


def test_packages_are_listed_once_each():
    lines = environment.installed_packages().splitlines()
    assert any(line.startswith("torch==") for line in lines)
    assert len(lines) == len(set(lines))


def test_what_a_package_brings_along_is_not_installed(tmp_path, monkeypatch):
    site = tmp_path / "site-packages"
    for folder, name, version in (
        (site, "wide_open", "2.0"),
        (site, "", "cut-short"),
        (site / "large" / "_vendor", "brought", "1.0"),
        (tmp_path / "own", "Wide.Open", "1.0"),
        (tmp_path / "own", "own", "3.0"),
    ):
        information = folder / f"{name or '~orch'}-{version}.dist-info"
        information.mkdir(parents=True)
        if name:
            (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(site))
    monkeypatch.setattr("sys.path", [str(site), str(tmp_path / "own"), str(site / "large" / "_vendor")])
    assert environment.installed_packages() == "own==3.0\nwide_open==2.0\n"


def test_what_was_imported_does_not_change_what_is_installed():
    code = (
        "from segcore.execution.environment import installed_packages as packages\n"
        "before = packages()\n"
        "import setuptools, ray, mlflow, torch.utils.cpp_extension\n"
        "print(before == packages(), before.count('torch=='))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "1"]


def test_where_a_package_was_installed_from_is_not_told(tmp_path, monkeypatch):
    information = tmp_path / "private-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: private\nVersion: 1.0\n")
    (information / "direct_url.json").write_text('{"url": "https://token:swordfish@host/private.git", "vcs_info": {}}')
    monkeypatch.syspath_prepend(tmp_path)
    packages = environment.installed_packages()
    assert "private==1.0\n" in packages
    assert "swordfish" not in packages
