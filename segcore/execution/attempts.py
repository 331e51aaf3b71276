"""Attempts at a run: begun, continued, set aside.

An attempt is one training of a run, however many processes it took; in MLflow it is one run.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from segcore.checkpoint import read_checkpoint
from segcore.config import nest
from segcore.errors import UserError
from segcore.execution import folder as folders
from segcore.execution.claims import DELIVERY, LEASE, LOCK
from segcore.execution.folder import REPLACED, RunFolder, folder_of
from segcore.plan import Run

# States that a later process goes on from. A training that diverged would do so again.
UNFINISHED = ("running", "interrupted", "lost", "failed")
# Notes that a run is to be trained anew, and since when.
ANEW = "anew"
# States that a run comes to by itself.
ENDED = ("finished", "diverged", "failed")


@dataclass(frozen=True)
class Preparation:
    """How a call wants a run's folder made ready for a process; the same on this machine and on another.

    precision: the resolved one.  may_continue: whether an earlier call's attempt is gone on with.  trained_since:
    Unix time, as in `start_attempt`.  request: what of the call is kept with the run.  before: the run's mark when the
    call made its plan.
    """

    run: Run
    precision: str
    may_continue: bool = True
    trained_since: float = 0.0
    request: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)

    def is_settled(self) -> bool:
        """Whether another call has brought the run to an end since this one made its plan."""
        folder = folder_of(self.run)
        if folder.state == "finished" and self.may_continue and not is_wanted_anew(folder):
            return True
        return folder.state in ENDED and mark_of(folder) != self.before

    def make_ready(self, *, is_begun: bool) -> RunFolder | None:
        """The run's folder for its next process; the caller has claimed it.  Returns what was set aside for that.

        is_begun: whether this call has begun or continued the run before.
        """
        folder = folder_of(self.run)
        if self.goes_on(is_begun=is_begun):
            continue_attempt(self.run, self.precision)
            return None
        trained_since = max(self.trained_since, folder.read(ANEW).get("asked", 0.0))
        earlier = set_aside(folder)
        start_attempt(self.run, self.precision, trained_since=trained_since, request=self.request)
        return earlier

    def goes_on(self, *, is_begun: bool) -> bool:
        """Whether the next process goes on with the attempt that there is."""
        folder = folder_of(self.run)
        may_continue = self.may_continue and not is_wanted_anew(folder)
        return (is_begun or may_continue) and can_continue(folder)


def ask_anew(folder: RunFolder) -> None:
    """Note that --rerun wants the run trained anew, whatever becomes of that call; the caller has claimed the run.

    The note goes with what is set aside for the new attempt.
    """
    if folder.state != "new":
        folder.write(ANEW, {"asked": time.time()})


def is_wanted_anew(folder: RunFolder) -> bool:
    """Whether --rerun has asked for the run, and nothing has come of that yet."""
    return bool(folder.read(ANEW))


def mark_of(folder: RunFolder) -> dict[str, Any]:
    """What is another once anything has become of a run: its attempt and its state."""
    return folder.read("state") | {"attempt": folder.read("run").get("attempt")}


def start_attempt(
    run: Run,
    precision: str,
    trained_since: float = 0.0,
    request: Mapping[str, str] | None = None,
    folder: RunFolder | None = None,
) -> RunFolder:
    """A fresh folder for a run, which the caller has claimed; what was in it has been set aside.

    precision: the resolved one, which the settings then hold instead of `auto`.
    trained_since: Unix time; of runs of the same training, those begun later may be taken over instead of training.
    request: what of the call is kept with the run: preset, overrides, hypotheses.  folder: by default the run's own.
    """
    folder = folder or folder_of(run)
    folder.artifacts.mkdir(parents=True, exist_ok=True)
    folder.write(
        "run",
        {
            "fingerprint": run.fingerprint,
            "training_fingerprint": run.training_fingerprint,
            "attempt": uuid.uuid4().hex[:12],
            "created": time.time(),
            "resumed": 0,
            "trained_since": trained_since,
            "request": dict(request or {}),
        },
    )
    write_settings(folder, run, precision)
    return folder


def write_settings(folder: RunFolder, run: Run, precision: str) -> None:
    """The run's settings, with the precision that they resolve to."""
    settings = nest(run.config.flat() | {"trainer.precision": precision})
    folder.write_text("settings.yaml", yaml.safe_dump(settings, sort_keys=False))


def can_continue(folder: RunFolder) -> bool:
    """Whether the folder holds an attempt that a process can go on with."""
    run = folder.read("run")
    return folder.state in UNFINISHED and "attempt" in run and (folder.path / "settings.yaml").is_file()


def continue_attempt(run: Run, precision: str) -> RunFolder:
    """The run's folder, which the caller has claimed, made ready for the next process of its attempt.

    Settings that change no result, such as threads, are those of this call.
    """
    folder = folder_of(run)
    if folder.state == "running":
        mark_lost(folder)
    content = folder.read("run")
    folder.write("run", content | {"resumed": content.get("resumed", 0) + 1})
    write_settings(folder, run, precision)
    return folder


def mark_lost(folder: RunFolder) -> None:
    """Note that the processes of a run are gone without a note of their own; the caller has claimed it."""
    folder.set_state("lost", "its process is gone: killed, or the machine went down")


def set_aside(folder: RunFolder) -> RunFolder | None:
    """Move what an earlier attempt left to `runs/replaced/FINGERPRINT-ATTEMPT`, and return that; None if nothing.

    `state.json` goes first, so that nobody reads an end without what came before it, and `run.json` last: if this is
    cut short, the next call moves the rest to the same place.
    """
    if not folder.path.is_dir():
        return None
    if folder.state == "running":  # and the caller holds the claim
        mark_lost(folder)
    left = [path for path in sorted(folder.path.iterdir(), key=order_of_moving) if not is_lock(path)]
    if not left:
        return None
    attempt = folder.read("run").get("attempt", f"unknown-{uuid.uuid4().hex[:8]}")
    target = RunFolder(folder.path.parent / REPLACED / f"{folder.path.name}-{attempt}")
    target.path.mkdir(parents=True, exist_ok=True)
    for path in left:
        path.rename(target.path / path.name)
    return target


def order_of_moving(path: Path) -> tuple[bool, bool]:
    """The state first, the attempt's name last."""
    return path.name == "run.json", path.name != "state.json"


def is_lock(path: Path) -> bool:
    """Whether a file of a run's folder says whose it is; such files stay, and so do those of a lease's taking."""
    return path.name == LOCK or path.name.partition(".")[0] in (LEASE, DELIVERY)


def find_trained(folder: RunFolder) -> RunFolder | None:
    """A finished run of the same training, which differs at most in its evaluation; None where there is none."""
    wanted = folder.read("run")
    for path in sorted(folders.RUNS.glob("*/run.json")):
        other = RunFolder(path.parent)
        run = other.read("run")
        same = run.get("training_fingerprint") == wanted.get("training_fingerprint")
        is_young = run.get("created", 0.0) >= wanted.get("trained_since", 0.0)
        if same and is_young and other.state == "finished" and is_whole(other.checkpoint):
            return other
    return None


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint can be read."""
    try:
        read_checkpoint(checkpoint)
    except UserError:
        return False
    return True
