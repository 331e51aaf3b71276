"""What is shown and written of a reproduction: differences before it, the comparison after it."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from segcore.execution.comparison import TOLERANCE, Comparison, Match, MetricComparison, Outcome
from segcore.execution.differences import Difference, describe_same
from segcore.execution.folder import RunFolder
from segcore.execution.reproduction import Reproduction

STYLES = {Match.equal: "green", Match.close: "yellow", Match.different: "red"}
# So much of a long text stands in the terminal; the files have all of it.
MAX_CELL = 160
FILES = ("comparison.md", "comparison.json")


def show_differences(reproduction: Reproduction) -> Group:
    """What is not as it was, those that can change bits first, and what is."""
    same = Text(describe_same(reproduction.then, reproduction.now, reproduction.differences), "dim")
    title = Text(f"Reproducing {reproduction.title}", "bold")
    if not reproduction.differences:
        return Group(title, Text("Nothing differs."), same, Text())
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("differs", "then", "now"):
        table.add_column(header, overflow="fold")
    table.add_column("changes bits", no_wrap=True)
    for difference in in_order(reproduction.differences):
        cells = [cut(text) for text in (difference.what, difference.then, difference.now)]
        style = "yellow" if difference.can_change else None
        table.add_row(*map(Text, cells), "it can" if difference.can_change else "no", style=style)
    return Group(title, table, same, Text())


def in_order(differences: Sequence[Difference]) -> list[Difference]:
    """Those that can change bits first."""
    return sorted(differences, key=lambda difference: not difference.can_change)


def cut(text: str) -> str:
    """A text that is not too long for a cell."""
    text = text.replace("\n", ", ")
    return text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}..."


def show_comparison(comparison: Comparison, folder: RunFolder) -> Group:
    """A row for each metric (at the end: for each that differs), then the sentence, and where the files are."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    for header in ("equal", "first other", "difference"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    epochs = comparison.num_epochs
    add_section(table, f"{epochs} epoch{'s' * (epochs != 1)}", comparison.epochs)
    other = [metric for metric in comparison.results if metric.match != Match.equal]
    add_section(table, "at the end", other)
    if equal := len(comparison.results) - len(other):
        cells = f"  {equal} {'others' if other else 'metrics'}", f"{equal} of {equal}", "", ""
        add_row(table, "at the end" if not other else "", cells, Match.equal)
    style = STYLES[comparison.match] if comparison.is_reproduced else "red"
    where = Text(f"{' and '.join(FILES)} are in {folder.path}/", "dim")
    shown = [table] if comparison.metrics else []
    return Group(*shown, Text(sentence(comparison), style), where)


def add_section(table: Table, heading: str, metrics: Sequence[MetricComparison]) -> None:
    """Rows for metrics, below a heading."""
    for metric in metrics:
        add_row(table, heading if metric is metrics[0] else "", metric_cells(metric), metric.match)


def add_row(table: Table, heading: str, cells: Sequence[str], match: Match) -> None:
    """A row, below a heading if it has one."""
    if heading:
        table.add_row(Text(heading, "italic"))
    table.add_row(*map(Text, cells), Text(match, STYLES[match]))


def metric_cells(metric: MetricComparison) -> list[str]:
    """Name, how many values are equal, the first that is not, the largest difference."""
    first = metric.differing[0] if metric.differing else None
    return [
        f"  {metric.metric}",
        f"{metric.values - len(metric.differing)} of {metric.values}",
        "" if first is None else f"epoch {first}" if first else "end",
        "" if first is None else show_difference(metric.largest),
    ]


def show_difference(value: float) -> str:
    """A difference with two digits; of a number that only one side has, in words."""
    return f"{value:.1e}" if math.isfinite(value) else "one is missing"


def sentence(comparison: Comparison) -> str:
    """The outcome in a few sentences."""
    parts = [verdict(comparison), describe_weights(comparison), describe_end(comparison)]
    return " ".join(filter(None, parts))


def verdict(comparison: Comparison) -> str:
    """Reproduced or not, and of what."""
    worse = [metric for metric in comparison.metrics if metric.match == Match.different]
    epochs, at_end = comparison.num_epochs, len(comparison.results)
    what = f"{epochs} epoch{'s' * (epochs != 1)} and {at_end} metrics at the end"
    first = comparison.first_different
    since = "" if first is None else f" from epoch {first} on"
    if not comparison.is_reproduced:
        if worse:
            return f"Not reproduced: {len(worse)} of {len(comparison.metrics)} metrics differ{since}."
        if not comparison.metrics:
            return "Not reproduced: there are no metrics to compare."
        return "Not reproduced: its metrics agree, but not its end."
    if not comparison.metrics:
        return "Reproduced: it ends as it did."
    if comparison.match == Match.equal:
        return f"Reproduced bit for bit: {what}."
    return f"Reproduced within {TOLERANCE:g} (of the value where that is above 1), not bit for bit{since}: {what}."


def describe_weights(comparison: Comparison) -> str:
    """Whether the best epoch's weights are equal."""
    return {True: "The weights are equal.", False: "The weights differ.", None: ""}[comparison.weights]


def describe_end(comparison: Comparison) -> str:
    """How it ended, unless it finished both times."""
    then, now = comparison.then, comparison.now
    if then.state == now.state == "finished":
        return ""
    if comparison.end and then.reason == now.reason:
        return f"Both times: {describe_state(then)}."
    return f"Then: {describe_state(then)}. Now: {describe_state(now)}."


def describe_state(outcome: Outcome) -> str:
    """How a training ended, after how many epochs, and why."""
    epochs = len(outcome.epochs)
    why = f" ({outcome.reason.rstrip('.')})" if outcome.reason else ""
    return f"{outcome.state} after {epochs} epoch{'s' * (epochs != 1)}{why}"


def write_comparison(reproduction: Reproduction, comparison: Comparison, folder: RunFolder) -> None:
    """`comparison.json`, for programs, and `comparison.md`, with every epoch, for people."""
    folder.write("comparison", as_json(content(reproduction, comparison)))
    folder.write_text("comparison.md", "\n".join(markdown(reproduction, comparison)) + "\n")


def content(reproduction: Reproduction, comparison: Comparison) -> dict[str, Any]:
    """All of it."""
    recorded = reproduction.recorded
    return {
        "run_id": recorded.run_id,
        "experiment": recorded.experiment,
        "name": recorded.name,
        "reproduced": comparison.is_reproduced,
        "match": comparison.match,
        "tolerance": TOLERANCE,
        "first_different_epoch": comparison.first_different,
        "weights_equal": comparison.weights,
        "ended_alike": comparison.end,
        "differences": [asdict(difference) for difference in reproduction.differences],
        "epoch_metrics": [asdict(metric) for metric in comparison.epochs],
        "end_metrics": [asdict(metric) for metric in comparison.results],
        "then": asdict(comparison.then),
        "now": asdict(comparison.now),
    }


def as_json(value: Any) -> Any:
    """A value without numbers that JSON does not know: these become texts."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def markdown(reproduction: Reproduction, comparison: Comparison) -> list[str]:
    """The comparison as lines of Markdown."""
    lines = [
        f"# Reproduction of {plain(reproduction.title)}",
        "",
        plain(sentence(comparison)),
        "",
        "## What differs",
        "",
    ]
    lines += [*row("", "then", "now", "changes bits"), "| --- | --- | --- | --- |"]
    for item in in_order(reproduction.differences):
        lines += row(item.what, item.then, item.now, "it can" if item.can_change else "no")
    same = describe_same(reproduction.then, reproduction.now, reproduction.differences)
    lines += ["", same, "", "## Metrics", ""]
    lines += row("metric", "equal", "first other", "largest difference", "")
    lines.append("| --- | ---: | ---: | ---: | --- |")
    for metric in comparison.metrics:
        lines += row(*(cell.strip() for cell in metric_cells(metric)), metric.match)
    return [*lines, "", "## Values", "", *values_table(comparison)]


def values_table(comparison: Comparison) -> list[str]:
    """Each number then and now, epoch by epoch."""
    lines = [*row("epoch", "metric", "then", "now"), "| ---: | --- | ---: | ---: |"]
    then, now = comparison.then, comparison.now
    for epoch in sorted({*then.epochs, *now.epochs}):
        for metric in comparison.epochs:
            values = [str(side.epochs.get(epoch, {}).get(metric.metric, "")) for side in (then, now)]
            lines += row(str(epoch), metric.metric, *values)
    for metric in comparison.results:
        lines += row("end", metric.metric, *(str(side.results.get(metric.metric, "")) for side in (then, now)))
    return lines


def row(*cells: str) -> list[str]:
    """A row of a table in Markdown."""
    return [f"| {' | '.join(map(plain, cells))} |"]


def plain(text: str) -> str:
    """A text from elsewhere that neither ends a cell nor turns into markup."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return text.replace("\n", ", ")
