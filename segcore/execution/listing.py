"""The ablations that there are: their questions, arms and state."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from segcore.ablation import load_ablation, read_overlay, relative
from segcore.config import Problems
from segcore.errors import UserError
from segcore.execution.folder import folder_of
from segcore.execution.planning import Lookup, make_plans
from segcore.execution.request import EXPERIMENTS, Request

# States to be told of beside the finished ones.
OTHERS = {state: state for state in ("diverged", "failed", "lost", "interrupted", "running")} | {
    "missing": "not possible"
}


@dataclass
class Listing:
    """What is gathered while the files are read.

    unknown: why it is not known what is finished, and of which files; broken: of files that cannot be used;
    names: of ablations, and the files that have them.
    """

    rows: list[tuple[str, ...]] = field(default_factory=list)
    unknown: dict[str, list[str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=dict)

    def notes(self) -> Iterator[str]:
        """What stands below the table, each thing once."""
        for message, files in self.unknown.items():
            of = "" if len(files) == len(self.rows) else f" of {', '.join(files)}"
            yield f"? What is finished{of} is not known. {message}"
        yield from self.broken
        for name, files in self.names.items():
            if len(files) > 1:
                yield f"{' and '.join(files)} have the same name, {name}; each needs one of its own"


def list_ablations(request: Request) -> Group:
    """A row for each file in `experiments/`, or for each that is asked for: question, arms, arms x seeds, states."""
    problems = Problems()
    overlay = read_overlay(request.preset, request.overrides, request.seeds, problems)
    problems.raise_any()
    listing, lookup = Listing(), Lookup(may_download=False)
    for file in request.files or sorted(map(relative, EXPERIMENTS.glob("*.yaml"))):
        add_file(listing, file, request, overlay.seeds or overlay.preset_seeds, lookup)
    table = Table(title="Ablations", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("file", "question", "arms"):
        table.add_column(column, overflow="fold")
    for column in ("arms x\nseeds", "runs\nfinished"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in listing.rows:
        table.add_row(*map(Text, row))
    return Group(table, *map(Text, listing.notes()))


def add_file(listing: Listing, file: Path, request: Request, seeds: Sequence[int] | None, lookup: Lookup) -> None:
    """Read one file.  seeds: in place of the file's own."""
    try:
        definition = load_ablation(file).definition
    except UserError as error:
        listing.rows.append((file.stem, "cannot be used, see below", "", "", ""))
        listing.broken.append(str(error))
        return
    listing.names.setdefault(definition.name, []).append(file.name)
    try:
        (plan,) = make_plans(replace(request, files=[file]), lookup)
        finished = describe_states(folder_of(run).state for run in plan.runs)
    except UserError as error:
        listing.unknown.setdefault(str(error), []).append(file.stem)
        finished = "?"
    times = f"{len(definition.arms)} x {len(seeds or definition.seeds)}"
    listing.rows.append((file.stem, definition.question, ", ".join(definition.arms), times, finished))


def describe_states(states: Iterable[str]) -> str:
    """How many runs are finished; below that, a line each, how many came to another end or to none yet."""
    numbers = Counter(states)
    others = [f"{numbers[state]} {words}" for state, words in OTHERS.items() if numbers[state]]
    return "\n".join([str(numbers["finished"]), *others])
