"""Delivering what lies in `runs/`, without the ablations' files and without the runner."""

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient

from segcore.errors import UserError
from segcore.leases import LEASE_SECONDS
from segcore.tracking.delivery import Delivery, deliver, is_delivered
from segcore.tracking.folder import DAMAGE, is_begun
from segcore.tracking.lease import DeliveredElsewhere
from segcore.tracking.noted import read_noted, with_newest_definitions
from segcore.tracking.store import first_line, is_unanswered, tracking_client

RUNS = Path("runs")
REPLACED = "replaced"
# What is waited for a server that was there a moment ago.
PAUSES = (1.0, 3.0, 10.0)
# For another process that delivers a run: long enough to find out that its machine is dead.
ELSEWHERE_SECONDS = LEASE_SECONDS + 15.0

RUNNER_ONLY = "an older version of the suite noted no more than the name: only `python runner.py` of its ablation can"
NO_EXPERIMENT = "the folder names no experiment: only `python runner.py` of its ablation can"


@dataclass
class Backlog:
    """What there is to deliver, and what became of it.

    whole: runs that MLflow has all of; training: those that are not over, of which it has what there is; unbegun:
    those of which there is nothing yet; missed: what was not delivered, and why.
    """

    deliveries: list[Delivery]
    whole: int = 0
    training: int = 0
    unbegun: int = 0
    missed: list[tuple[str, str]] = field(default_factory=list)


def find_folders(paths: Sequence[Path]) -> list[Path]:
    """These folders, or all in `runs/` and `runs/replaced/`, in the order in which their runs were begun.

    Raises UserError where there are none, or one of them is no run's.
    """
    if not paths and not RUNS.is_dir():
        raise UserError(f"{RUNS.absolute()}: there are no runs here; go to the folder in which they were trained")
    for path in paths:
        if not _is_file(path / "run.json"):
            raise UserError(f"{path}: is no run's folder, which has a run.json in it; they are {RUNS}/FINGERPRINT")
    found = paths or [file.parent for pattern in ("*", f"{REPLACED}/*") for file in RUNS.glob(f"{pattern}/run.json")]
    return sorted(dict.fromkeys(found), key=lambda path: (_created(path), path.name))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, say
        return False


def _created(folder: Path) -> float:
    try:
        return float(json.loads((folder / "run.json").read_text(encoding="utf-8"))["created"])
    except (OSError, *DAMAGE):
        return 0.0  # its delivery will say what is wrong with it


def read_backlog(folders: Iterable[Path]) -> Backlog:
    """All deliveries of these folders, in their order; what cannot be delivered from here is missed already."""
    backlog = Backlog([])
    for folder in folders:
        try:
            noted = read_noted(folder)
        except OSError as error:
            backlog.missed.append((str(folder), first_line(error)))
            continue
        backlog.deliveries += noted.deliveries
        backlog.missed += [(f"{folder} to {name}", RUNNER_ONLY) for name in noted.names_only]
        if not noted.deliveries and not noted.names_only:
            backlog.missed.append((str(folder), NO_EXPERIMENT))
    backlog.deliveries = with_newest_definitions(backlog.deliveries)
    return backlog


def clear(backlog: Backlog, client: MlflowClient, advance: Callable[[str], None]) -> None:
    """Delivers everything, each thing once; what another process has in hand comes last.

    advance: is told the name of each run before its turn.  Where MLflow goes away for good, the rest is missed.
    """
    elsewhere: list[Delivery] = []
    for position, delivery in enumerate(backlog.deliveries):
        advance(name_of(delivery))
        try:
            _note(backlog, delivery, _deliver_patiently(delivery, client))
        except DeliveredElsewhere:
            elsewhere.append(delivery)
        except Exception as error:
            backlog.missed.append((name_of(delivery), first_line(error)))
            if is_unanswered(error):
                rest = backlog.deliveries[position + 1 :] + elsewhere
                backlog.missed += [(name_of(other), "MLflow was gone") for other in rest]
                return
    _wait_for(elsewhere, backlog, client)


def _deliver_patiently(delivery: Delivery, client: MlflowClient) -> bool:
    for pause in PAUSES:
        try:
            return deliver(delivery, client)
        except Exception as error:
            if not is_unanswered(error):
                raise
            time.sleep(pause)
    return deliver(delivery, client)


def _wait_for(elsewhere: list[Delivery], backlog: Backlog, client: MlflowClient) -> None:
    """Delivers what others had in hand, when they are done with it or dead."""
    deadline = time.monotonic() + ELSEWHERE_SECONDS
    while elsewhere and time.monotonic() < deadline:
        time.sleep(0.5)
        for delivery in list(elsewhere):
            try:
                _note(backlog, delivery, deliver(delivery, client))
            except DeliveredElsewhere:
                continue
            except Exception as error:
                backlog.missed.append((name_of(delivery), first_line(error)))
            elsewhere.remove(delivery)
    backlog.missed += [(name_of(delivery), "another process is still delivering it") for delivery in elsewhere]


def _note(backlog: Backlog, delivery: Delivery, is_whole: bool) -> None:
    if is_whole:
        backlog.whole += 1
    elif is_begun(delivery.folder):
        backlog.training += 1
    else:
        backlog.unbegun += 1


def holds_all_of(folder: Path) -> bool:
    """Whether MLflow holds all that a run's folder has; asks, and changes nothing.

    False also where a version of the suite made the folder that did not note what it belongs to, and where there is no
    database.  Raises what MLflow raises.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI") and not Path("mlflow.db").is_file():
        return False
    noted, client = read_noted(folder), tracking_client()
    is_told = bool(noted.deliveries) and not noted.names_only
    return is_told and all(is_delivered(delivery, client) for delivery in noted.deliveries)


def name_of(delivery: Delivery) -> str:
    """`lr_sweep-demo/lr 1e-3, seed 42`, as `--run` takes it."""
    return f"{delivery.experiment.name}/{delivery.identity()['name']}"
