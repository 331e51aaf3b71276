"""Where a run is computed: code, versions and machine, as facts that go to MLflow beside its numbers."""

import importlib.metadata
import platform
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import DistributionFinder, MetadataPathFinder
from pathlib import Path

import torch

from segcore.credentials import clean_diff, without_credentials
from segcore.execution.variables import PROJECT

REPORTED_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "mlflow")
# Whatever the user's own settings of git say: no colours, no other program, names as they are.
PLAIN_DIFF = (
    *("-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false", "-c", "core.quotePath=false"),
    *("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--src-prefix=a/", "--dst-prefix=b/"),
)


def git(*arguments: str) -> str | None:
    """What git prints of the project's own repository; None without git or outside a repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")


def git_diff() -> str | None:
    """What the working tree has that its commit has not, untracked files by name; None where there is nothing.

    What looks like a credential is left out, and said so: the diff goes to MLflow, where others read it.
    """
    diff = clean_diff(git(*PLAIN_DIFF, "HEAD") or "") + "".join(
        f"untracked: {without_credentials(name)}\n"
        for name in (git("ls-files", "--others", "--exclude-standard") or "").splitlines()
    )
    return diff or None


def describe_device(device: torch.device) -> str:
    """`cpu` or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def describe_environment(device: torch.device, threads: int) -> dict[str, str | int | bool | None]:
    """Code, versions and machine of this process."""
    commit = git("rev-parse", "HEAD")
    return {
        "git_commit": commit.strip() if commit else None,
        "git_dirty": bool(git("status", "--porcelain")) if commit else None,
        "device": describe_device(device),
        "threads": threads,
        "host": platform.node(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in REPORTED_PACKAGES},
    }


def processor_name() -> str:
    """The CPU's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def installed_packages() -> str:
    """Every installed distribution as `name==version`, a line each, sorted; of two of a name the one that is imported.

    What a package brings along for itself is not installed: importing setuptools or ray puts a folder of its own on
    the search path, and what is installed would depend on what was imported.
    """
    found: dict[str, str] = {}
    folders = DistributionFinder.Context(path=[entry for entry in sys.path if not is_brought_along(entry)])
    for item in MetadataPathFinder().find_distributions(folders):
        name = item.metadata["Name"] or ""  # empty where an installation was cut short
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), f"{name}=={item.version}")
    return "\n".join(found[name] for name in sorted(found) if name) + "\n"


def is_brought_along(entry: str) -> bool:
    """Whether a folder of the search path lies inside an installed package."""
    parents = Path(entry).resolve().parents
    return any(Path(sysconfig.get_path(name)).resolve() in parents for name in ("purelib", "platlib"))
