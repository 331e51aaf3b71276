"""What can be said before anything trains: the ablations that there are, and a plan with its cost."""

import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from segcore.ablation import load_ablation, read_overlay
from segcore.build import resolve_device, resolve_precision, resolve_threads
from segcore.config import Problems, RunConfig
from segcore.errors import UserError
from segcore.execution.environment import PROJECT, describe_device
from segcore.execution.folder import RUNS, RunFolder, folder_of
from segcore.execution.reporting import count_gflops, count_parameters
from segcore.execution.session import Lookup, Request, make_plans
from segcore.execution.terminal import show_seconds
from segcore.plan import Plan, Run

EXPERIMENTS = PROJECT / "experiments"


def list_ablations(request: Request) -> Group:
    """A row for each file in `experiments/`, or for each that is asked for: question, arms, runs finished."""
    table = Table(title="Ablations", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("file", "question", "arms", "finished"):
        table.add_column(column, overflow="fold")
    problems = Problems()
    read_overlay(request.preset, request.overrides, request.seeds, problems)
    problems.raise_any()
    lookup, notes = Lookup(may_download=False), list[str]()
    for file in request.files or sorted(EXPERIMENTS.glob("*.yaml")):
        try:
            definition = load_ablation(file).definition
            question, arms = definition.question, ", ".join(definition.arms)
            state = describe_state(replace(request, files=[file]), lookup, notes)
        except UserError as error:
            question, arms, state = "", "", note(notes, str(error))
        table.add_row(*(Text(cell) for cell in (file.stem, question, arms, state)))
    return Group(table, *(Text(f"({number}) {text}") for number, text in enumerate(notes, start=1)))


def note(notes: list[str], text: str) -> str:
    """The mark of a footnote, which is added where it is new."""
    if text not in notes:
        notes.append(text)
    return f"({notes.index(text) + 1})"


def describe_state(request: Request, lookup: Lookup, notes: list[str]) -> str:
    """`2 of 9 runs`, or the mark of a note that says why that can't be told."""
    try:
        (plan,) = make_plans(request, lookup)
    except UserError as error:
        return note(notes, f"Not known: {error}")
    return f"{sum(folder_of(run).state == 'finished' for run in plan.runs)} of {len(plan.runs)} runs"


def show_plan(plan: Plan) -> Group:
    """The plan as a table of its arms, with what it will cost."""
    definition = plan.ablation.definition
    table = Table(title=f"{definition.title}: {definition.question}", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("arm", "differs in", "parameters", "GFLOPs\nan image", "runs\ndone", "to do", "time left"):
        table.add_column(column)
    to_do: list[Run] = []
    for arm, differences in plan.differences.items():
        runs = [run for run in plan.runs if run.arm == arm]
        if runs:
            left = [run for run in runs if run.unavailable is None and folder_of(run).state != "finished"]
            to_do += left
            table.add_row(*arm_cells(arm, differences, runs, left))
    return Group(table, Text(describe_cost(plan, to_do)))


def arm_cells(arm: str, differences: dict[str, object], runs: Sequence[Run], left: Sequence[Run]) -> list[Text]:
    """An arm's row of the plan."""
    config = runs[0].config
    cells = [
        arm,
        "\n".join(f"{key} = {value}" for key, value in differences.items()),
        f"{count_parameters(config.model.name):,}",
        f"{count_gflops(config.model.name, config.data.image_size):.2f}",
        str(sum(folder_of(run).state == "finished" for run in runs)),
        str(len(left)),
        f"missing: {runs[0].unavailable}" if runs[0].unavailable else show_time(left),
    ]
    return [Text(cell) for cell in cells]


def show_time(runs: Sequence[Run]) -> str:
    """The time that the runs will take, from finished ones of the same kind on the same device."""
    seconds = estimate_seconds(runs)
    return "unknown" if seconds is None else show_seconds(seconds)


def estimate_seconds(runs: Sequence[Run]) -> float | None:
    """Seconds of the runs one after the other; None where no finished run tells."""
    per_run = [seconds_of_similar(run) for run in runs]
    known = [seconds for seconds in per_run if seconds is not None]
    return sum(known) if len(known) == len(per_run) else None


def seconds_of_similar(run: Run) -> float | None:
    """Median training time of finished runs of the same work on the same data and machine, scaled to the epochs."""
    device = resolve_device(run.config)
    environment = {"device": describe_device(device), "threads": resolve_threads(run.config), "host": platform.node()}
    seconds = []
    for path in RUNS.glob("*/training.json"):
        folder = RunFolder(path.parent)
        there, settings = folder.read("environment"), folder.settings()
        same_place = all(there.get(key) == value for key, value in environment.items())
        same_data = folder.read("data").get("fingerprint") == run.data_fingerprint
        if same_place and same_data and kind_of_work(settings) == kind_of_work(precise(run.config, device)):
            share = run.config.trainer.epochs / settings["trainer.epochs"]
            seconds.append(folder.read("training")["train_seconds"] * share)
    return statistics.median(seconds) if seconds else None


def precise(config: RunConfig, device: torch.device) -> dict[str, Any]:
    """The settings with the precision that `auto` means."""
    return config.flat() | {"trainer.precision": resolve_precision(config, device)}


def kind_of_work(settings: Mapping[str, Any]) -> list[Any]:
    """The settings that an epoch's time depends on."""
    return [settings.get(key) for key in ("model.name", "data.image_size", "data.batch_size", "trainer.precision")]


def describe_cost(plan: Plan, to_do: Sequence[Run]) -> str:
    """The plan's hash and the sum of what is to do."""
    seconds = estimate_seconds(to_do)
    time = f"about {show_seconds(seconds)}" if seconds is not None else "time unknown: no finished run like these yet"
    return f"plan {plan.plan}: {len(to_do)} of {len(plan.runs)} runs to do, {time}. Nothing was trained."
