"""What each process that computes a part of a run notes of itself, for runs that go on elsewhere."""

import hashlib
import shutil
from collections.abc import Mapping
from typing import Any

import torch

from segcore.credentials import without_credentials
from segcore.execution.environment import describe_environment, git_diff, installed_packages
from segcore.execution.folder import RunFolder
from segcore.training_state import state_files

# Facts of earlier parts that are not those of the newest, each a list, the oldest first; absent where all are the same.
EARLIER = "earlier"
PACKAGES, DIFF, SETTINGS = "requirements.txt", "git.diff", "config.yaml"


def write_environment(folder: RunFolder, device: torch.device, threads: int) -> None:
    """Code, versions and machine, for tags and artifacts; those of a part that others computed are kept beside."""
    packages, diff = installed_packages(), git_diff()
    note_part(folder, folder if has_earlier_part(folder) else None, describe_part(device, threads, packages, diff))
    (folder.artifacts / PACKAGES).write_text(packages, encoding="utf-8")
    settings = (folder.path / "settings.yaml").read_text(encoding="utf-8")
    (folder.artifacts / SETTINGS).write_text(without_credentials(settings), encoding="utf-8")
    # An empty one in place of an earlier process's, which MLflow may have already.
    if diff or (folder.artifacts / DIFF).exists():
        (folder.artifacts / DIFF).write_text(diff or "", encoding="utf-8")


def describe_part(device: torch.device, threads: int, packages: str, diff: str | None) -> dict[str, Any]:
    """The environment of this process, with hashes that tell its packages and its uncommitted code from others."""
    return describe_environment(device, threads) | {"packages": short_hash(packages), "git_diff": short_hash(diff)}


def short_hash(text: str | None) -> str | None:
    """Enough of a hash to tell texts apart; None of none."""
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else None


def has_earlier_part(folder: RunFolder) -> bool:
    """Whether something of what an earlier process computed is used."""
    return any(folder.lines("epochs")) or bool(state_files(folder.states))


def note_part(folder: RunFolder, source: RunFolder | None, now: Mapping[str, Any]) -> None:
    """Write the environment of now, and beside it what was not the same in earlier parts.

    source: the folder in which those were computed: this one, or that of a run whose training is taken over.
    """
    before = source.read("environment") if source else {}
    earlier = earlier_values(before, now)
    if source and any(before[key] != now.get(key) for key in before if key != EARLIER):
        keep_files(folder, source)
    folder.write("environment", {**now, EARLIER: earlier} if earlier else dict(now))


def earlier_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Of each fact that was another in an earlier part, the values that it had, the oldest first.

    before: what the process before noted, which holds those of the ones before it; empty where there was none.
    """
    values = {key: list(known) for key, known in before.get(EARLIER, {}).items()}
    for key in (key for key in before if key != EARLIER and before[key] != now.get(key)):
        values[key] = [*(known for known in values.get(key, []) if known != before[key]), before[key]]
    return values


def keep_files(folder: RunFolder, source: RunFolder) -> None:
    """Keep what an earlier part noted, in `artifacts/earlier/NUMBER`."""
    place = folder.artifacts / EARLIER
    number = len(list(place.iterdir())) + 1 if place.is_dir() else 1
    target = place / str(number)
    target.mkdir(parents=True)
    for name in (PACKAGES, DIFF):
        if (source.artifacts / name).is_file():
            shutil.copy2(source.artifacts / name, target / name)
    shutil.copy2(source.path / "environment.json", target / "environment.json")
