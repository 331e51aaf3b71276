"""Which experiments a report shows: those that are asked for, or all of one preset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.definition import Definition
from analysis.numbers import flat, join
from analysis.reporting.model import NotRun
from analysis.results import ExperimentRow, make_command

EXPERIMENTS = Path("experiments")
NO_PRESET = "base"


@dataclass(frozen=True)
class Selection:
    """Names of experiments, ablations without runs, and what a reader has to know of the choice."""

    experiments: tuple[str, ...]
    not_run: tuple[NotRun, ...] = ()
    notes: tuple[str, ...] = ()


def select(
    rows: Sequence[ExperimentRow], files: Mapping[str, Definition], asked: Sequence[str], preset: str | None
) -> Selection:
    """The experiments to show.

    rows: what MLflow holds.  files: ablations by name, as `experiments/` has them.  asked: ablations, experiments or
    files; none means all.  preset: only of this one; where none is named, that of the newest run.  Experiments in
    MLflow's trash are among those to show where they would be, and damaged ones always: loading them tells how to get
    them back.
    """
    filled = [row for row in rows if row.num_runs]
    named = [name_of_file(name, files) for name in asked]
    by_ablation = [row for row in filled if not named or row.ablation in named]
    chosen, notes = of_one_preset(by_ablation, preset)
    exact = [row for row in filled if row.name in named and row.name != row.ablation]
    shown = [row for row in filled if row in chosen or row in exact]
    shown_preset = preset_of(chosen) if preset is None else None if preset == NO_PRESET else preset
    wanted = [row for row in rows if row.is_deleted and (not named or row.ablation in named)]
    if chosen or preset is not None:
        wanted = [row for row in wanted if row.preset == shown_preset]
    # A damaged experiment of another preset does not stand for its ablation.
    standing = [row for row in shown if not row.problem or row.preset == shown_preset]
    deleted = [row for row in wanted if row.ablation not in {row.ablation for row in standing}]
    known, ran = names_of([*shown, *deleted]), names_of([*standing, *deleted])
    return Selection(
        # What is neither a file nor has runs is asked of MLflow all the same: it may lie in its trash.
        (*(row.name for row in (*shown, *deleted)), *(name for name in named if name not in {*known, *files})),
        tuple(not_run(files[name], shown_preset) for name in (named or files) if name in files and name not in ran),
        tuple(notes),
    )


def names_of(rows: Sequence[ExperimentRow]) -> set[str]:
    """The experiments and their ablations."""
    return {name for row in rows for name in (row.name, row.ablation)}


def preset_of(rows: Sequence[ExperimentRow]) -> str | None:
    """The preset of the newest run; of damaged experiments, whose preset is a guess, only where there are no others."""
    newest = max(rows, key=lambda row: (not row.problem, row.last_start), default=None)
    return newest.preset if newest else None


def name_of_file(name: str, files: Mapping[str, Definition]) -> str:
    """The name of the ablation where its file is named; any other name as it is."""
    if not name.endswith((".yaml", ".yml")):
        return name
    sources = {Path(definition.source).resolve(): definition.name for definition in files.values()}
    return sources.get(Path(name).resolve(), Path(name).stem)


def of_one_preset(rows: Sequence[ExperimentRow], preset: str | None) -> tuple[list[ExperimentRow], list[str]]:
    """The rows of the named preset or that of the newest run, and a sentence for what is left out by that.

    Damaged ones are never left out.
    """
    wanted = preset_of(rows) if preset is None else None if preset == NO_PRESET else preset
    chosen = [row for row in rows if row.preset == wanted or row.problem]
    others: dict[str, list[str]] = {}
    for row in rows:
        if row not in chosen:
            others.setdefault(row.preset or NO_PRESET, []).append(row.name)
    left_out = [
        f"{join(f'`{name}`' for name in names)} (`--preset {other}`)" for other, names in sorted(others.items())
    ]
    is_there = any(row.preset == wanted for row in rows)
    if not left_out or (preset is not None and is_there):
        return chosen, []
    if not is_there:
        return chosen, [f"No experiment of preset {preset} has runs; there are {join(left_out)}."]
    return chosen, [f"Not shown, because runs of different presets cannot be compared: {join(left_out)}."]


def not_run(definition: Definition, preset: str | None) -> NotRun:
    """An ablation that was never run, and how to run it."""
    return NotRun(
        number=flat(definition.section or ""),
        title=flat(definition.title),
        question=flat(definition.question),
        num_claims=len(definition.hypotheses),
        command=make_command(definition, preset),
    )
