"""Where runs departed from what was planned: a check each for code, data, machines, settings, runs and claims.

Every check says what it found, or that it found nothing, so that the section can be pasted into a paper as it is.
"""

import math
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from analysis.definition import describe_changes
from analysis.notes import runs_of_other_claims
from analysis.numbers import flat, join, plural, runs_of
from analysis.reporting.integrity import beside_the_factor
from analysis.reporting.material import Material
from analysis.reporting.model import Check

# Where data and caches lie on a machine says nothing about a result; the data's own fingerprint does.
PLACES = ("data.root", "data.cache_dir", "data.download")
SIZES = ("data.format", "data.image_size", "trainer.epochs")
SHORT = 7
Finder = Callable[[Material], Iterable[str]]


def find_deviations(materials: Sequence[Material]) -> tuple[Check, ...]:
    """All checks over all ablations; findings name the experiment that they are about."""
    return tuple(
        Check(title, tuple(between(materials)) + findings(materials, finder), none)
        for title, finder, between, none in CHECKS
    )


def findings(materials: Sequence[Material], finder: Finder) -> tuple[str, ...]:
    """What a check finds, with the experiments that it is true of before it."""
    found: dict[str, list[str]] = {}
    for material in materials:
        for finding in dict.fromkeys(finder(material)):
            found.setdefault(finding, []).append(f"`{material.results.experiment}`")
    several = len(materials) > 2
    return tuple(
        f"{'Each experiment' if several and len(names) == len(materials) else name_each(names)}: {finding}"
        for finding, names in found.items()
    )


def name_each(names: Sequence[str]) -> str:
    """Experiments of which a finding is true: of every one by itself, where there are several."""
    return join(names) if len(names) == 1 else f"{join(names)}, each"


def groups(runs: pd.DataFrame, column: str) -> dict[Any, list[tuple[str, int]]]:
    """Runs (arm, seed) by the value of a column, most frequent value first; what was not recorded is left out."""
    found: dict[Any, list[tuple[str, int]]] = {}
    for arm, seed, value in runs[["arm", "seed", column]].itertuples(index=False):
        if is_known(value):
            found.setdefault(value, []).append((arm, int(seed)))
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), str(item[0]))))


def is_known(value: Any) -> bool:
    """Whether something was recorded."""
    return value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))


def mixed(runs: pd.DataFrame, column: str, what: str, show: Callable[[Any], str] = str) -> list[str]:
    """A sentence where runs differ in a column: how many have the most frequent value, and which have others."""
    found = groups(runs, column)
    if len(found) < 2:
        return []
    first, *others = found.items()
    rest = join(f"{show(value)} ({runs_of(pairs)})" for value, pairs in others)
    return [f"{len(found)} {what}: {show(first[0])} ({plural(len(first[1]), 'run')}), {rest}."]


def not_recorded(runs: pd.DataFrame, column: str, what: str) -> list[str]:
    """A sentence where a run does not say."""
    unknown = [pair for pair, value in zip(pairs(runs), runs[column], strict=True) if not is_known(value)]
    return [f"{what} was not recorded for {plural(len(unknown), 'run')}."] if unknown else []


def pairs(runs: pd.DataFrame) -> list[tuple[str, int]]:
    """Arm and seed of each run."""
    return [(arm, int(seed)) for arm, seed in runs[["arm", "seed"]].itertuples(index=False)]


def short(value: Any) -> str:
    """The beginning of a hash."""
    return str(value)[:SHORT]


def code(material: Material) -> Iterable[str]:
    """Runs of different commits."""
    yield from mixed(material.made, "git_commit", "commits", short)
    yield from not_recorded(material.made, "git_commit", "the commit")


def dirty(material: Material) -> Iterable[str]:
    """Runs with uncommitted changes."""
    changed = material.made[[is_known(value) and bool(value) for value in material.made["git_dirty"]]]
    if len(changed):
        yield (
            f"uncommitted changes in {runs_of(pairs(changed))}; each run keeps them as `git.diff` among its artifacts, "
            "of files that git does not know the names alone."
        )


def data(material: Material) -> Iterable[str]:
    """Different data, and files that were skipped."""
    yield from mixed(material.made, "data_fingerprint", "versions of the data", short)
    yield from not_recorded(material.made, "data_fingerprint", "the data")
    skipped = sorted({int(number) for number in material.made["num_skipped"].dropna() if number > 0})
    if skipped:
        amount = plural(skipped[0], "file") if len(skipped) == 1 else f"{skipped[0]} to {skipped[-1]} files"
        yield f"{amount} of the data could not be read and {'was' if amount == '1 file' else 'were'} skipped."


def machines(material: Material) -> Iterable[str]:
    """Different devices, machines or numbers of threads: what is slower may only have been computed elsewhere."""
    found = [
        *mixed(material.made, "device", "devices"),
        *mixed(material.made, "host", "machines"),
        *mixed(material.made, "threads", "numbers of CPU threads"),
    ]
    yield from found
    if found:
        yield "times and memory are therefore not comparable between all of its runs."


def software(material: Material) -> Iterable[str]:
    """Different versions of PyTorch."""
    yield from mixed(material.made, "torch", "versions of PyTorch")


def overrides(material: Material) -> Iterable[str]:
    """Settings that were given on the command line."""
    made = material.made
    recorded = made[[is_known(value) for value in made["hypotheses"]]]
    shown = recorded.assign(overrides=[without_places(text) for text in recorded["overrides"]])
    for text, chosen in groups(shown, "overrides").items():
        where = "all runs" if len(chosen) == len(made) else runs_of(chosen)
        yield f"`{text}` in {where}."
    unknown = len(made) - len(recorded)
    if unknown:
        yield f"whether settings were given on the command line was not recorded for {plural(unknown, 'run')}."


def without_places(text: Any) -> str:
    """The overrides without those that only say where something lies."""
    try:
        words = shlex.split(str(text))
    except ValueError:
        return flat(str(text))
    return " ".join(word for word in words if word.partition("=")[0] not in PLACES)


def unfinished(material: Material) -> Iterable[str]:
    """Runs that are missing, with state and reason; arms with different seeds."""
    runs = material.results.runs
    for state in dict.fromkeys(runs["state"]):
        if state == "finished":
            continue
        of_state = runs[runs["state"] == state]
        for reason in dict.fromkeys(of_state["reason"]):
            chosen = of_state[of_state["reason"] == reason]
            because = f": {flat(reason).rstrip('.')}" if is_known(reason) else ""
            yield f"{state}: {runs_of(pairs(chosen))}{because}."
    finished = {arm: {seed for other, seed in pairs(material.finished) if other == arm} for arm, _ in pairs(runs)}
    if len({frozenset(seeds) for seeds in finished.values()}) > 1:
        yield "arms have different seeds; they are paired on those that both have."


def other_seeds(material: Material) -> Iterable[str]:
    """Runs that the definition does not declare."""
    runs = material.results.runs
    extra = runs[~runs["is_declared"].astype(bool)]
    if len(extra):
        yield f"{runs_of(pairs(extra))} {'is' if len(extra) == 1 else 'are'} not declared."


def attempts(material: Material) -> Iterable[str]:
    """Runs that were begun more than once."""
    again = material.results.runs[material.results.runs["attempts"].fillna(0) > 1]
    if len(again):
        yield f"begun more than once: {runs_of(pairs(again))}; the newest finished attempt counts."


def stale(material: Material) -> Iterable[str]:
    """Runs of arms whose settings in the file have changed since; results before this was recorded do not say."""
    runs = material.results.runs
    counts = runs.get("stale", pd.Series(0, index=runs.index)).fillna(0)
    changed = runs[counts > 0]
    if len(changed):
        number = int(counts.sum())
        was = "was" if number == 1 else "were"
        yield f"{plural(number, 'run')} {was} left out, made with other settings of the arm: {runs_of(pairs(changed))}."


def copies(material: Material) -> Iterable[str]:
    """Runs that were trained once and stand in two places."""
    taken = material.results.runs[[is_known(value) for value in material.results.runs["reused_from"]]]
    if len(taken):
        was = "was" if len(taken) == 1 else "were"
        yield f"{plural(len(taken), 'run')} {was} taken over from a training of the same settings and data."


def definition(material: Material) -> Iterable[str]:
    """What the file says now that the runs were not made for."""
    if not material.has_files:
        yield "there is no `experiments/` here to compare it with."
    elif material.file is None:
        yield "no file in `experiments/` has this name; claims and arms are those that MLflow keeps."
    else:
        yield from (
            f"since the runs, the file changed: {flat(change)}."
            for change in describe_changes(material.results.definition, material.file)
        )


def claims(material: Material) -> Iterable[str]:
    """Claims that were changed after runs were made; a copy's are those of the ablation that it was trained for."""
    own = material.made[[not is_known(value) for value in material.made["reused_from"]]]
    others = runs_of_other_claims(material.results.definition, own)
    if others:
        yield f"the claims or their margins were changed after these runs were begun: {runs_of(others)}."
    yield from not_recorded(own, "hypotheses", "what was claimed when it was begun")
    if len(material.made) and own.empty:
        yield (
            "whether claims were changed is unknown, because all runs were taken over and carry the claims of the "
            "ablation that they were trained for."
        )


def plans(material: Material) -> Iterable[str]:
    """Runs under the same name that are not shown, because something else in their settings differs."""
    results = material.results
    for plan, count in results.plans.items():
        if plan != results.plan:
            command = f"python -m analysis.report {results.experiment} --plan {plan}"
            yield f"{plural(count, 'run')} of plan {plan} not shown, since settings or data differ: `{command}`."


def presets(materials: Sequence[Material]) -> Iterable[str]:
    """Experiments of different size in one report."""
    sizes = {
        tuple(frozenset(params.get(key) for params in material.results.params.values()) for key in SIZES)
        for material in materials
    }
    if len(sizes) > 1:
        names = join(f"`{material.results.experiment}`" for material in materials)
        yield f"{names} differ in data, image size or epochs: compare arms within an ablation, not between them."


def commits(materials: Sequence[Material]) -> Iterable[str]:
    """Different code between ablations, each of which was made with one."""
    single = [list(groups(material.made, "git_commit")) for material in materials]
    known = {found[0] for found in single if len(found) == 1}
    if len(known) > 1:
        yield f"The ablations were made with {len(known)} different commits; no comparison goes across ablations."


def nothing(materials: Sequence[Material]) -> Iterable[str]:
    """For checks that only look inside of an ablation."""
    return ()


CHECKS: tuple[tuple[str, Finder, Callable[[Sequence[Material]], Iterable[str]], str], ...] = (
    ("Code", code, commits, "All runs were made with the same commit."),
    ("Uncommitted changes", dirty, nothing, "No run was made with uncommitted changes."),
    ("Data", data, nothing, "All runs of an ablation used the same data, and no file was skipped."),
    ("Factor", beside_the_factor, presets, "Arms differ in nothing but the factor."),
    ("Devices and machines", machines, nothing, "All runs of an ablation were made on the same device and machine."),
    ("Software", software, nothing, "All runs of an ablation used the same version of PyTorch."),
    ("Settings on the command line", overrides, nothing, "No setting was given on the command line."),
    ("Missing runs", unfinished, nothing, "Every declared run finished."),
    ("Seeds beyond those declared", other_seeds, nothing, "Every run was declared."),
    ("Repeated runs", attempts, nothing, "No run was begun twice."),
    ("Changed arms", stale, nothing, "No run was left out because its arm's settings changed since."),
    ("Runs taken over", copies, nothing, "Every run was trained for its own ablation."),
    ("Definition", definition, nothing, "The files in `experiments/` say what the runs were made for."),
    ("Claims", claims, nothing, "No claim was changed after its runs were begun."),
    ("Other plans", plans, nothing, "No experiment holds runs of other settings."),
)
