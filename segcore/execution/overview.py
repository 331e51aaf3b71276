"""The plan before the run: what differs between the arms, what differs along with it, and what it all will cost."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from segcore import tracking
from segcore.config import RunConfig
from segcore.data import PreparedData, find_prepared
from segcore.execution.costs import (
    ArmCost,
    disk_needed,
    join,
    largest_memory,
    side_effects,
    unknown_kinds,
    weigh_arms,
)
from segcore.execution.folder import folder_of
from segcore.execution.notices import notices
from segcore.execution.pace import Paces, finished_trainings, kind_of, seconds_of_each
from segcore.execution.planning import ENDED, Lookup, find_runs_to_do
from segcore.execution.request import Launcher, Request
from segcore.execution.terminal import show_seconds
from segcore.plan import Plan, Run

# More settings than this stand below each other in one column.
MAX_COLUMNS = 3
SHOWN_NAMES = 5
WARNING = "yellow"


def show_plan(plan: Plan, request: Request, lookup: Lookup, paces: Paces) -> Group:
    """The plan of one ablation: a table of its arms, then what is to do and what it needs."""
    to_do = find_runs_to_do([plan], request.rerun)
    trained = set() if request.rerun else finished_trainings()
    costs = weigh_arms(plan, to_do, paces, lookup, trained)
    definition = plan.ablation.definition
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    for sentence in side_effects(costs):
        facts.add_row("note", Text(sentence, WARNING))
    for cost in costs:
        if cost.unavailable:
            facts.add_row("note", Text(f"{cost.arm} is left out: {cost.unavailable}", WARNING))
    facts.add_row("to do", describe_work(plan, costs, to_do, paces))
    for line in describe_data(plan, lookup):
        facts.add_row("data", line)
    if to_do:
        for line in describe_disk(to_do, lookup):
            facts.add_row("disk", line)
        facts.add_row("memory", describe_memory(to_do, paces, max(1, request.jobs)))
    facts.add_row("plan", Text(plan.plan))
    title = Text(f"{definition.title}: {definition.question}", "italic")
    return Group(title, arms_table(costs), facts, Text())


def arms_table(costs: Sequence[ArmCost]) -> Table:
    """A row an arm: its settings, its network, its time, its runs."""
    keys = list(costs[0].differences)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("arm", min_width=6, overflow="fold")
    for header in setting_headers(keys):
        table.add_column(Text(header), overflow="fold")
    for header in ("para-\nmeters", "GFLOPs\nan image", "time\na run", "runs\ndone", "time\nleft"):
        table.add_column(header, justify="right", no_wrap=True)
    for cost in costs:
        settings = [show_setting(value) for value in cost.differences.values()]
        if len(keys) > MAX_COLUMNS:
            settings = ["\n".join(f"{key} = {value}" for key, value in zip(keys, settings, strict=True))]
        table.add_row(*(Text(cell) for cell in (cost.arm, *settings, *cost_cells(cost))))
    return table


def show_setting(value: object) -> str:
    """A setting as one would type it, and as the report writes it: `0.005`, `0.001` as `1e-3`, `unet`."""
    if not isinstance(value, float):
        return str(value)
    if not 0 < abs(value) <= 1e-3:
        return f"{value:g}"
    digits, exponent = f"{value:e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def setting_headers(keys: Sequence[str]) -> list[str]:
    """The settings' keys, the group above the name; one header for all where they are many; none for a single arm."""
    if len(keys) > MAX_COLUMNS:
        return ["differs in"]
    return [key.replace(".", ".\n", 1) for key in keys]


def cost_cells(cost: ArmCost) -> list[str]:
    """Parameters, GFLOPs, time of a run, runs done, time left."""
    if cost.unavailable:
        left = "–"
    elif cost.to_do:
        left = "unknown" if cost.left is None else show_seconds(cost.left)
    else:
        left = "none"
    return [
        f"{cost.parameters / 1e6:.1f} M",
        f"{cost.gflops:.2f}" if cost.gflops < 100 else f"{cost.gflops:.0f}",
        "–" if cost.unavailable else "unknown" if cost.seconds is None else show_seconds(cost.seconds),
        f"{cost.states['finished']} of {cost.states.total()}",
        left,
    ]


def describe_work(plan: Plan, costs: Sequence[ArmCost], to_do: Sequence[Run], paces: Paces) -> RenderableType:
    """How many runs are to do, and how long they take one after the other."""
    diverged = sum(cost.states["diverged"] for cost in costs)
    stand = (
        f"; {diverged} diverged, which only --rerun trains again" if diverged and len(to_do) < len(plan.runs) else ""
    )
    if not to_do:
        which = "all runs that this machine can do" if any(run.unavailable for run in plan.runs) else "all runs"
        return Text(f"nothing: {which} have come to their end{stand}")
    text = f"{len(to_do)} of {len(plan.runs)} runs"
    if anew := sum(folder_of(run).state in ENDED for run in to_do):
        text += f" ({anew} of them anew, as --rerun asks or has asked)"
    lefts = [cost.left for cost in costs]
    known = [left for left in lefts if left is not None]
    earlier = [
        f"{number} {state}"
        for state in ("failed", "lost", "interrupted", "running")
        if (number := sum(cost.states[state] for cost in costs if cost.to_do))
    ]
    before = (f"; so far {join(earlier)}" if earlier else "") + stand
    if len(known) == len(lefts):
        time = f"about {show_seconds(sum(known))} one after the other"
        return Text(f"{text}, {time} ({time_source(to_do, paces)}){before}")
    kinds = len(unknown_kinds(to_do, paces))
    which = "these" if known == [0] * len(known) else "some of these"
    each = f" for each of {kinds} kinds of work" if kinds > 1 else ""
    return Text(
        f"{text}{before}. Their time is not known: no run like {which} has finished here. "
        f"Add --calibrate to measure it, about half a minute{each}."
    )


def time_source(to_do: Sequence[Run], paces: Paces) -> str:
    """What the time is estimated from."""
    kinds = {kind_of(run.config) for run in to_do}
    finished = sum(len(paces.finished.get(kind, ())) for kind in kinds)
    measured = sum(kind not in paces.finished for kind in kinds)
    sources = [f"from {finished} finished run{'s' * (finished != 1)} like these here"] if finished else []
    return " and ".join([*sources, *(["from a calibration"] if measured else [])])


def describe_data(plan: Plan, lookup: Lookup) -> Iterator[Text]:
    """Each dataset and size: its parts, what cannot be read, and whether it is decoded."""
    seen = set()
    for config, facts in plan.arms.values():
        key = (facts.data_fingerprint, config.data.image_size)
        if key not in seen:
            seen.add(key)
            yield describe_dataset(config, lookup)


def describe_dataset(config: RunConfig, lookup: Lookup) -> Text:
    """One dataset at one size."""
    index, size = lookup.index(config), config.data.image_size
    prepared = find_prepared(index, image_size=size, cache_dir=Path(config.data.cache_dir))
    parts = (prepared or index).train, (prepared or index).validation, (prepared or index).test
    train, validation, test = (f"{len(part):,}" for part in parts)
    text = f"{index.name} at {size} x {size}: {train} training, {validation} validation, {test} test images"
    if prepared is not None:
        return Text(text) + describe_skipped(prepared)
    missing = [item.name for item in index.items if not (item.image.is_file() and item.mask.is_file())]
    text += "; the first run decodes them"
    return Text(text) + (Text(f"; without image or mask: {name_some(missing)}", WARNING) if missing else Text())


def describe_skipped(data: PreparedData) -> Text:
    """What the decoded dataset had to leave out."""
    if not data.skipped:
        return Text("; none unreadable")
    return Text(f"; unreadable and left out: {name_some([item.name for item in data.skipped])}", WARNING)


def name_some(names: Sequence[str]) -> str:
    """Their number and the first few."""
    return f"{len(names)} ({', '.join(names[:SHOWN_NAMES])}{', ...' * (len(names) > SHOWN_NAMES)})"


def describe_disk(to_do: Sequence[Run], lookup: Lookup) -> Iterator[Text]:
    """What each file system needs to hold and can."""
    tracks_here = not tracking.tracking_uri().startswith(("http:", "https:"))
    for disk in disk_needed(to_do, lookup, tracks_here):
        enough = disk.needed < disk.free
        text = f"{disk.needed / 1e9:.1f} GB needed, {disk.free / 1e9:.0f} GB free below {disk.place}"
        yield Text(text) if enough else Text(f"{text}: too little", WARNING)


def describe_memory(to_do: Sequence[Run], paces: Paces, jobs: int) -> Text:
    """What the largest run needs, times those that run together, against what is free."""
    memory = largest_memory(to_do, paces)
    at_a_time = min(jobs, len(to_do))
    together = at_a_time * memory.needed_gib
    text = f"{memory.needed_gib:.1f} GiB a run ({memory.source})"
    if jobs > 1:
        text += f", {together:.1f} GiB for {at_a_time} at a time"
    text += f"; {memory.free_gib:.1f} GiB of {memory.kind} free"
    if together < memory.free_gib:
        return Text(text)
    if at_a_time == 1 and memory.least_gib < memory.free_gib:
        return Text(f"{text}: little, so freed memory is given back at once, which is slower", WARNING)
    return Text(f"{text}: too little. Lower data.batch_size or data.image_size, or --jobs", WARNING)


def describe_whole(plans: Sequence[Plan], request: Request, lookup: Lookup, paces: Paces) -> str:
    """The end of a look at the plans: the sum of several, and that nothing was trained."""
    to_do = find_runs_to_do(plans, request.rerun)
    trained = set() if request.rerun else finished_trainings()
    seconds = list(seconds_of_each(to_do, paces, lookup.sizes, trained).values())
    known = [value for value in seconds if value is not None]
    time = f", about {show_seconds(sum(known))}" if len(known) == len(seconds) else ""
    whole = f"All ablations together: {len(to_do)} runs to do{time}. " if len(plans) > 1 else ""
    crowding = notices(to_do, request.jobs) if request.launcher == Launcher.local else []
    return "\n".join([*crowding, f"{whole}Nothing was trained."])
