"""An ablation's definition, as MLflow keeps it (tag `ablation`) and as its YAML file says it now."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from analysis.numbers import flat, join, setting


class DefinitionError(Exception):
    """A definition that cannot be understood; the message says where and why."""


@dataclass(frozen=True)
class Hypothesis:
    """A claim about two arms.  first, second: `better` and `than`, or the two of `same`."""

    claim: str
    first: str
    second: str
    metric: str
    margin: float
    same: bool = False
    ratio: bool = False


@dataclass(frozen=True)
class ReportFigure:
    """Figures of the report by number (loss and Dice, or one), and the arms that they show."""

    numbers: tuple[int, ...]
    arms: tuple[str, ...]


@dataclass(frozen=True)
class Definition:
    """The content of an ablation.  settings, arms: flat, under dotted keys.  source: its file, "" if from MLflow."""

    name: str
    title: str
    question: str
    factors: tuple[str, ...]
    arms: dict[str, dict[str, Any]]
    seeds: tuple[int, ...]
    hypotheses: tuple[Hypothesis, ...] = ()
    section: str | None = None
    figures: tuple[ReportFigure, ...] = ()
    settings: dict[str, Any] | None = None
    source: str = field(default="", compare=False)


def parse_definition(content: Any, source: str) -> Definition:
    """A definition from what JSON or YAML holds.  Raises DefinitionError, which names the source."""
    try:
        report = content.get("report") or {}
        factor = content["factor"]
        return Definition(
            name=str(content["name"]),
            title=str(content["title"]),
            question=str(content["question"]),
            factors=(factor,) if isinstance(factor, str) else tuple(map(str, factor)),
            arms={str(arm): dict(flatten(settings or {})) for arm, settings in content["arms"].items()},
            seeds=tuple(int(seed) for seed in content["seeds"]),
            hypotheses=tuple(parse_hypothesis(hypothesis) for hypothesis in content.get("hypotheses") or ()),
            section=str(report["section"]) if report.get("section") is not None else None,
            figures=tuple(
                ReportFigure(tuple(map(int, figure["numbers"])), tuple(map(str, figure["arms"])))
                for figure in report.get("figures") or ()
            ),
            settings=dict(flatten(content.get("settings") or {})),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        problem = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise DefinitionError(f"{source} is not an ablation that can be read: {problem}") from error


def parse_hypothesis(content: Mapping[str, Any]) -> Hypothesis:
    """One claim."""
    same = content.get("same")
    first, second = same or (content["better"], content["than"])
    return Hypothesis(
        claim=str(content["claim"]),
        first=str(first),
        second=str(second),
        metric=str(content["metric"]),
        margin=float(content["margin"]),
        same=bool(same),
        ratio=bool(content.get("ratio", False)),
    )


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings under dotted keys; texts that are numbers, such as YAML's 1e-3, as numbers."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", as_number(value)


def as_number(value: Any) -> Any:
    """A text that is a number as that number; everything else as it is."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def read_definitions(folder: Path) -> tuple[dict[str, Definition], list[str]]:
    """The ablations of a folder's YAML files by name, and a sentence for each file that is none.

    A file that `extends` another is read on top of it.
    """
    found: dict[str, Definition] = {}
    problems = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            definition = parse_definition(read_yaml(path), str(path))
            found[definition.name] = replace(definition, source=str(path))
        except DefinitionError as error:
            problems.append(str(error))
    return found, problems


def read_yaml(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A file's content on top of those that it extends.  Raises DefinitionError.

    above: the files that led here, each extending the next.
    """
    name = f"{path}, which {above[-1]} extends," if above else str(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    # A date or a number that is none is a ValueError, and so is a text that is not UTF-8.
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DefinitionError(f"{name} cannot be read: {describe_error(error)}") from error
    if not isinstance(content, dict):
        raise DefinitionError(f"{name} is not an ablation that can be read: it holds no keys")
    parent = content.get("extends")
    if not isinstance(parent, str):
        return content
    if path.resolve() in [file.resolve() for file in above]:
        raise DefinitionError(f"{path}: extends goes in a circle")
    base = read_yaml(path.parent / parent, (*above, path))
    settings = [part.get("settings") or {} for part in (base, content)]
    if not all(isinstance(part, dict) for part in settings):
        raise DefinitionError(f"{path} is not an ablation that can be read: `settings` holds no keys")
    return base | content | {"settings": {key: value for part in settings for key, value in flatten(part)}}


def describe_error(error: Exception) -> str:
    """What keeps a file from being read: `line 2: found undefined alias 'a'`, `No such file or directory`."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def describe_changes(tracked: Definition, file: Definition) -> list[str]:
    """What the file says now that the runs were not made for, a phrase each; empty where both are the same."""
    changes = [
        f"{part}: {before} became {now}"
        for (part, before), now in zip(describe_parts(tracked).items(), describe_parts(file).values(), strict=True)
        if before != now
    ]
    changes += [f"settings: {change}" for change in compare_settings(tracked.settings or {}, file.settings or {})]
    for arm in dict.fromkeys([*tracked.arms, *file.arms]):
        before, now = tracked.arms.get(arm), file.arms.get(arm)
        if before is None or now is None:
            changes.append(f"arm '{arm}' is {'new' if before is None else 'gone'}")
        else:
            changes += [f"arm '{arm}': {change}" for change in compare_settings(before, now)]
    return [*changes, *compare_hypotheses(tracked.hypotheses, file.hypotheses)]


def compare_hypotheses(before: Iterable[Hypothesis], now: Iterable[Hypothesis]) -> Iterable[str]:
    """The hypotheses that only one side has, each as often as it stands there, named by their claims."""
    earlier, later = Counter(before), Counter(now)
    changed = Counter(flat(hypothesis.claim) for hypothesis in (later - earlier).elements())
    lost = Counter(flat(hypothesis.claim) for hypothesis in (earlier - later).elements())
    yield from (f"hypothesis '{claim}' is new or changed" for claim in changed)
    yield from (f"hypothesis '{claim}' is gone" for claim in lost - changed)


def describe_parts(definition: Definition) -> dict[str, str]:
    """The parts that are compared as a whole, in words."""
    figures = [f"{join(map(str, figure.numbers))} of {join(figure.arms)}" for figure in definition.figures]
    return {
        "title": f"'{flat(definition.title)}'",
        "question": f"'{flat(definition.question)}'",
        "factor": join(definition.factors) or "none",
        "section of the report": definition.section or "none",
        "figures of the report": "; ".join(figures) or "none",
        "seeds": join(map(str, definition.seeds)) or "none",
    }


def compare_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    """The settings in which two groups differ: `optimizer.lr 1e-3 became 0.01`."""
    for key in dict.fromkeys([*before, *now]):
        if key not in before:
            yield f"{key} = {write_value(now[key])} is new"
        elif key not in now:
            yield f"{key} = {write_value(before[key])} is gone"
        elif before[key] != now[key]:
            yield f"{key} {write_value(before[key])} became {write_value(now[key])}"


def write_value(value: Any) -> str:
    """A setting's value as one would type it in a file: `1e-3`, `unet`, `true`, `[0.4, 0.5]`."""
    return setting(value) if isinstance(value, str | float) else json.dumps(value, default=str)
