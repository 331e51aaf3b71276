"""What a run's folder says of its deliveries: a line of `experiments.jsonl` for each experiment and arm of it.

So a run can be delivered without the ablation's file, by anybody who has the folder.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segcore.tracking.delivery import Delivery
from segcore.tracking.folder import read_lines
from segcore.tracking.store import ExperimentInfo


@dataclass(frozen=True)
class Noted:
    """The deliveries of a folder, in the order in which they were first noted.

    names_only: experiments of which an older version of the suite noted the name and nothing else.
    """

    deliveries: tuple[Delivery, ...]
    names_only: tuple[str, ...]


def note_of(delivery: Delivery) -> dict[str, Any]:
    """The line of a delivery, but for its experiment's name."""
    experiment = delivery.experiment
    return {
        "arm": delivery.arm,
        "seed": delivery.seed,
        "factor": delivery.factor,
        "fingerprint": delivery.fingerprint,
        "plan": delivery.plan,
        "description": experiment.description,
        "definition": experiment.definition,
        "noted": experiment.noted,
    }


def read_noted(folder: Path) -> Noted:
    """The deliveries of a folder; of several lines of one experiment and arm the last one counts."""
    deliveries: dict[tuple[str, str], Delivery] = {}
    names: dict[str, None] = {}
    for line in read_lines(folder / "experiments.jsonl"):
        if "name" not in line:
            continue
        names[str(line["name"])] = None
        delivery = _read_delivery(folder, line)
        if delivery:
            deliveries[delivery.experiment.name, delivery.arm] = delivery
    told = {experiment for experiment, _ in deliveries}
    return Noted(tuple(deliveries.values()), tuple(name for name in names if name not in told))


def _read_delivery(folder: Path, line: Mapping[str, Any]) -> Delivery | None:
    try:
        experiment = ExperimentInfo(
            str(line["name"]), str(line["description"]), str(line["definition"]), float(line["noted"])
        )
        if not math.isfinite(experiment.noted):
            return None
        texts = (str(line[key]) for key in ("factor", "fingerprint", "plan"))
        return Delivery(folder, experiment, str(line["arm"]), int(line["seed"]), *texts)
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def with_newest_definitions(deliveries: Iterable[Delivery]) -> list[Delivery]:
    """The same, each with what was noted last of its experiment: an ablation's file may change between its runs."""
    deliveries = list(deliveries)
    newest: dict[str, ExperimentInfo] = {}
    for delivery in sorted(deliveries, key=lambda delivery: delivery.experiment.noted):
        newest[delivery.experiment.name] = delivery.experiment
    return [replace(delivery, experiment=newest[delivery.experiment.name]) for delivery in deliveries]
