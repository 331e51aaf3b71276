"""What is not as it was when a run was trained: code, recipe, data, versions, machine, settings.  Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NONE = "unknown"
# Shown by name, in this order; a change of any of them can change what is computed.
NUMERIC = ("torch", "torchvision", "numpy", "pillow", "scikit-learn")
# Parts of PyTorch that are packages of their own.
NUMERIC_PARTS = re.compile(r"^(nvidia-.*|triton|cuda-.*|mkl|intel-openmp)$")
# Facts of a machine, and whether another one can change bits.
MACHINE = {
    "python": False,
    "platform": False,
    "host": False,
    "processor": True,
    "device": True,
    "threads": True,
}  # fmt: skip
# What is noted of each part of a run that was cut short and went on, and how it is called.
OF_A_PART = {
    "git_commit": "git commit",
    "git_diff": "uncommitted code",
    "packages": "packages",
    **{name: name for name in (*NUMERIC, *MACHINE)},
}


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was.  can_change: whether that can change the bits of a result."""

    what: str
    then: str
    now: str
    can_change: bool


@dataclass(frozen=True)
class Side:
    """All that is compared of one of the two times.

    environment: as `describe_environment` gives it, None or missing where unknown.  diff: of the working tree against
    its commit.  packages: `name==version` lines; None where unknown.  data: fingerprint, sizes, number and names of
    skipped files; empty where unknown.  settings: all, under dotted keys, precision resolved.
    """

    environment: Mapping[str, Any]
    diff: str | None
    packages: str | None
    data: Mapping[str, Any]
    settings: Mapping[str, Any]


def find_differences(then: Side, now: Side) -> list[Difference]:
    """Everything that differs, and is known of both times or of one, in the order of a table."""
    return [
        *code_differences(then, now),
        *data_differences(then.data, now.data),
        *package_differences(versions(then), versions(now), are_all=then.packages is not None),
        *machine_differences(then.environment, now.environment),
        *part_differences(then.environment, now.environment),
        *setting_differences(then.settings, now.settings),
    ]


def code_differences(then: Side, now: Side) -> list[Difference]:
    """Commits, and what the working trees had that their commits had not."""
    commits = [describe_commit(side.environment) for side in (then, now)]
    if commits[0] != commits[1]:
        return [Difference("git commit", commits[0], commits[1], True)]
    if (then.diff or "") != (now.diff or ""):
        sizes = [describe_diff(side.diff) for side in (then, now)]
        return [Difference("uncommitted code", sizes[0], sizes[1], True)]
    return []


def describe_commit(environment: Mapping[str, Any]) -> str:
    """A commit in short, and whether there was more than it."""
    commit = environment.get("git_commit")
    if not commit:
        return NONE
    dirty = str(environment.get("git_dirty")).lower() == "true"
    return f"{str(commit)[:12]}{' with changes' if dirty else ''}"


def describe_diff(diff: str | None) -> str:
    """How much a working tree had that its commit had not."""
    changed = [line for line in (diff or "").splitlines() if re.match(r"[+-](?![+-]{2} )|untracked: ", line)]
    return f"{len(changed)} lines or files" if diff else "none"


def data_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Content, sizes of the three parts, and files that were skipped."""
    if not then:
        return []  # it did not come that far; its fingerprint tells whether the content is the same
    found = []
    if then["fingerprint"] != now["fingerprint"]:
        found.append(Difference("data content", then["fingerprint"][:12], now["fingerprint"][:12], True))
    if then["sizes"] != now["sizes"]:
        sizes = [", ".join(f"{part} {number}" for part, number in side["sizes"].items()) for side in (then, now)]
        found.append(Difference("images", sizes[0], sizes[1], True))
    if (then["skipped"], sorted(then["skipped_files"])) != (now["skipped"], sorted(now["skipped_files"])):
        skipped = [describe_skipped(side) for side in (then, now)]
        found.append(Difference("skipped files", skipped[0], skipped[1], then["sizes"] != now["sizes"]))
    return found


def describe_skipped(data: Mapping[str, Any]) -> str:
    """Their number and the first of them."""
    named = list(data["skipped_files"])
    more = ", ..." if data["skipped"] > 2 else ""
    return f"{data['skipped']}: {'; '.join(named[:2])}{more}" if named else str(data["skipped"])


def versions(side: Side) -> dict[str, str]:
    """The version of each package, by its name in the spelling that PyPI compares."""
    lines = side.packages.splitlines() if side.packages is not None else []
    pairs = [line.partition("==") for line in lines if "==" in line]
    known = {normal(name): version.strip() for name, _, version in pairs}
    return known or {name: str(side.environment[name]) for name in NUMERIC if side.environment.get(name)}


def normal(name: str) -> str:
    """A package's name in the spelling that PyPI compares."""
    return re.sub(r"[-_.]+", "-", name).strip().lower()


def package_differences(then: Mapping[str, str], now: Mapping[str, str], are_all: bool) -> list[Difference]:
    """Those that compute one by one, then all others in one line, by name.

    are_all: whether all packages of then are known, so that one that is not among them was not there.
    """
    if not then:
        return [Difference("packages", NONE, f"{len(now)} installed", True)]
    known = {*then, *now} if are_all else {*then}
    changed = [name for name in sorted(known) if then.get(name) != now.get(name)]
    first = [name for name in NUMERIC if name in changed]
    parts = [name for name in changed if NUMERIC_PARTS.match(name)]
    rest = [name for name in changed if name not in {*first, *parts}]
    found = [Difference(name, then.get(name, "none"), now.get(name, "none"), True) for name in (*first, *parts)]
    if rest:
        texts = ["\n".join(f"{name} {side.get(name, 'none')}" for name in rest) for side in (then, now)]
        found.append(Difference(f"{len(rest)} other package{'s' * (len(rest) != 1)}", texts[0], texts[1], False))
    return found


def machine_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """What of the machine is another, where it is known of then."""
    return [
        Difference(key, str(then[key]), str(now.get(key, NONE)), can_change)
        for key, can_change in MACHINE.items()
        if then.get(key) is not None and str(then[key]) != str(now.get(key))
    ]


def part_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """What earlier parts of a run were computed with that was cut short and went on, where that is not as now."""
    found = []
    for key, what in OF_A_PART.items():
        values = json.loads(then.get(f"earlier.{key}") or "[]")
        if key in now and any(str(value) != str(now[key]) for value in values):
            texts = [", ".join(map(show_fact, side)) for side in (values, [now[key]])]
            found.append(Difference(f"{what} of a part", texts[0], texts[1], MACHINE.get(key, True)))
    return found


def show_fact(value: Any) -> str:
    """A fact of a part, a commit in short."""
    return "none" if value is None else value[:12] if re.fullmatch("[0-9a-f]{40}", str(value)) else str(value)


def setting_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Settings that the command line changed, but those whose meaning the machine's facts tell already."""
    told = ("execution.device", "execution.threads")
    arithmetic = ("trainer.", "evaluation.")
    return [
        Difference(key, str(then.get(key, "none")), str(value), key.startswith(arithmetic))
        for key, value in now.items()
        if key not in told and value != then.get(key, value)
    ]


def describe_same(then: Side, now: Side, differences: Sequence[Difference]) -> str:
    """What was compared and is the same, as a sentence."""
    whats = {difference.what for difference in differences}
    same = [] if whats & {"git commit", "uncommitted code"} else ["code"]
    if then.data and not whats & {"data content", "images", "skipped files"}:
        same.append("data")
    before, after = versions(then), versions(now)
    packages = sum(after.get(name) == version for name, version in before.items())
    same += [f"{packages} packages"] if packages else []
    same += [key for key in MACHINE if then.environment.get(key) is not None and key not in whats]
    return f"The same: {', '.join(same)}." if same else "Nothing that is known of it is the same."
