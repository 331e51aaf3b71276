"""What a plan will cost: each arm's network and time, disk and memory, against what the machine has."""

import math
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from segcore import build
from segcore.config import RunConfig
from segcore.data import cache_bytes, find_prepared
from segcore.execution.folder import folder_of
from segcore.execution.memory import estimate_memory_gib, free_memory_gib
from segcore.execution.pace import Paces, kind_of, seconds_of_each
from segcore.execution.planning import Lookup
from segcore.models import count_gflops, count_parameters
from segcore.plan import Plan, Run

# What a run keeps beside its weights, measured: sheets, curves, tables, log; 2.4 to 2.9 MB each in runs/ and mlruns/.
OTHER_BYTES = 6e6
# Networks that differ by less than this are called the same size.
SAME = 1.01
# Runs whose times differ by less than this are called as long as each other: repeated ones do by as much.
SAME_TIME = 1.05


@dataclass(frozen=True)
class ArmCost:
    """An arm in the plan.

    seconds: of one of its runs with its training; left: of all its runs that are to do.  None where nothing is known.
    states: of its runs, by number; unavailable: why this machine cannot run it.
    """

    arm: str
    differences: dict[str, Any]
    parameters: int
    gflops: float
    seconds: float | None
    left: float | None
    to_do: int
    states: Counter[str]
    unavailable: str | None


def weigh_arms(plan: Plan, to_do: Sequence[Run], paces: Paces, lookup: Lookup, trained: set[str]) -> list[ArmCost]:
    """Every arm of the plan, those that are not asked for too.  trained: trainings that can be taken over."""
    sizes = lookup.sizes
    seconds = seconds_of_each(to_do, paces, sizes, trained)
    costs = []
    runs = plan.runs_of(plan.ablation.seeds)
    for arm, (config, facts) in plan.arms.items():
        own = [seconds[run.fingerprint] for run in to_do if run.arm == arm]
        known = [value for value in own if value is not None]
        parameters, gflops = network_size(config.model.name, config.data.image_size)
        costs.append(
            ArmCost(
                arm=arm,
                differences=plan.differences[arm],
                parameters=parameters,
                gflops=gflops,
                seconds=None if facts.unavailable else paces.seconds_of(config, sizes(config)),
                left=sum(known) if len(known) == len(own) else None,
                to_do=len(own),
                states=Counter(folder_of(run).state for run in runs if run.arm == arm),
                unavailable=facts.unavailable,
            )
        )
    return costs


@lru_cache(maxsize=64)
def network_size(model_name: str, image_size: int) -> tuple[int, float]:
    """Parameters, and GFLOPs of one image's forward pass."""
    return count_parameters(model_name), count_gflops(model_name, image_size)


def side_effects(costs: Sequence[ArmCost]) -> list[str]:
    """A sentence for each kind of arm that differs from the cheapest one in parameters, compute or, if known, time."""
    reference = min(costs, key=lambda cost: (cost.gflops, cost.seconds or math.inf))
    groups: dict[tuple[int, float, float | None], list[ArmCost]] = {}
    for cost in costs:
        groups.setdefault((cost.parameters, cost.gflops, cost.seconds), []).append(cost)
    sentences = []
    for group in groups.values():
        ratios = compare(group[0], reference)
        if ratios:
            names, has = join([cost.arm for cost in group]), "has" if len(group) == 1 else "have"
            these = "these" if len(ratios) > 1 else "this"
            sentences.append(f"{names} {has} {join(ratios)} of {reference.arm}: the factor changes {these} too.")
    return sentences


def compare(cost: ArmCost, reference: ArmCost) -> list[str]:
    """How many times the parameters and compute where one of them differs, and the time where it is known to."""
    ratios = {"parameters": cost.parameters / reference.parameters, "compute": cost.gflops / reference.gflops}
    if all(1 / SAME < ratio < SAME for ratio in ratios.values()):
        ratios = {}
    time = cost.seconds / reference.seconds if cost.seconds and reference.seconds else None
    if time is not None and (ratios or not 1 / SAME_TIME < time < SAME_TIME):
        ratios["time"] = time
    return [f"{ratio:.2g} times the {name}" for name, ratio in ratios.items()]


def join(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


@dataclass(frozen=True)
class Disk:
    """Bytes that are needed on one file system, and free there.  place: a folder on it."""

    place: Path
    needed: float
    free: float


def disk_needed(to_do: Sequence[Run], lookup: Lookup, tracks_here: bool) -> list[Disk]:
    """What runs, tracking and data cache will take, by file system.

    tracks_here: whether MLflow's artifacts are kept below the current folder: weights and the exported model.
    """
    copies = 3 if tracks_here else 1
    needed = Counter({Path(): sum(copies * weight_bytes(run.config.model.name) + OTHER_BYTES for run in to_do)})
    caches = {}
    for run in to_do:
        data, index = run.config.data, lookup.index(run.config)
        cache = Path(data.cache_dir)
        if find_prepared(index, image_size=data.image_size, cache_dir=cache) is None:
            caches[index.fingerprint, data.image_size, cache] = cache_bytes(index, data.image_size)
    for (_, _, cache), size in caches.items():
        needed[cache] += size
    by_system: dict[int, Disk] = {}
    for place, size in needed.items():
        there = existing(place)
        before = by_system.get(os.stat(there).st_dev, Disk(there, 0.0, shutil.disk_usage(there).free))
        by_system[os.stat(there).st_dev] = Disk(before.place, before.needed + size, before.free)
    return list(by_system.values())


def weight_bytes(model_name: str) -> int:
    """Of a network's weights in float32; what its buffers add is nothing beside them."""
    return 4 * count_parameters(model_name)


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.is_dir())


@dataclass(frozen=True)
class Memory:
    """The most that a run holds, the least it needs, and what is free, GiB.  source: where that is known from."""

    needed_gib: float
    least_gib: float
    free_gib: float
    source: str
    kind: str


def memory_needed(config: RunConfig, paces: Paces) -> Memory:
    """Of a run with these settings on this machine."""
    device, kind = build.resolve_device(config), kind_of(config)
    place = "the GPU" if device.type == "cuda" else "this machine"
    free = free_memory_gib(device)
    known = paces.memory_gib(kind)
    least = estimate_memory_gib(config, kind.precision, device, keeps=False)
    if known is not None:
        return Memory(known, min(known, least), free, "finished runs" if kind in paces.finished else "measured", place)
    return Memory(estimate_memory_gib(config, kind.precision, device), least, free, "estimated", place)


def largest_memory(to_do: Sequence[Run], paces: Paces) -> Memory:
    """Of the run that needs most."""
    configs = {kind_of(run.config): run.config for run in to_do}
    return max((memory_needed(config, paces) for config in configs.values()), key=lambda need: need.needed_gib)


def unknown_kinds(to_do: Sequence[Run], paces: Paces) -> list[RunConfig]:
    """Settings of one run of each kind of work whose time nothing tells."""
    kinds = {kind_of(run.config): run.config for run in to_do}
    return [config for kind, config in kinds.items() if not paces.of(kind)]
