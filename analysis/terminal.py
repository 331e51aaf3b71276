"""Verdicts and outlooks as the terminal shows them."""

import math
from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.planning import Outlook
from analysis.rounding import choose_digits, write
from analysis.sentences import RATIO_DIGITS, number_of_seeds
from analysis.verdicts import Verdict

STYLES = {"supported": "green", "reversed": "red", "equivalent": "cyan", "inconclusive": "yellow"}
WARNING = "yellow"


def show_verdicts(verdicts: Sequence[Verdict]) -> Group:
    """A line for each hypothesis: its number, the verdict, the sentence; then what a reader has to know beside it.

    A note of several hypotheses stands once.  Empty where nothing is claimed.
    """
    if not verdicts:
        return Group()
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column()
    notes: dict[str, list[str]] = {}
    for verdict in verdicts:
        word = Text(verdict.verdict, STYLES[verdict.verdict])
        grid.add_row(Text(str(verdict.number)), word, Text(verdict.sentence))
        for note in (note for note in verdict.notes if note not in verdict.sentence):
            notes.setdefault(note, []).append(str(verdict.number))
    lines = [note_line(numbers, note) for note, numbers in notes.items()]
    return Group(Text("Verdicts", "italic"), grid, *lines, Text())


def note_line(numbers: Sequence[str], note: str) -> Text:
    """A note with the numbers of the hypotheses that it is of."""
    return Text(f"Note on {', '.join(numbers)}: {note}", "dim")


def show_outlooks(outlooks: Sequence[Outlook]) -> Group:
    """What the seeds can show of each hypothesis, what is settled, and a warning for each that they cannot settle."""
    if not outlooks:
        return Group(Text("No hypothesis is declared, so there will be no verdict.", WARNING), Text())
    numbers = {outlook.num_seeds for outlook in outlooks}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("hypothesis")
    headers = ("margin", "spread\nover seeds", "smallest\nthat shows", "seeds for\nthe margin")
    for header in (*(["seeds"] if len(numbers) > 1 else []), *headers):
        table.add_column(header, justify="right", no_wrap=True)
    for outlook in outlooks:
        number, claim, *cells = outlook_cells(outlook)
        seeds = [str(outlook.num_seeds)] if len(numbers) > 1 else []
        table.add_row(*map(Text, (number, claim, *seeds, *cells)), style=WARNING if warn(outlook) else None)
    only = min(numbers)
    title = f"What {only} seed{'s' * (only != 1)} can show" if len(numbers) == 1 else "What the seeds can show"
    warnings = (Text(warning, WARNING) for outlook in outlooks if (warning := warn(outlook)))
    lines = [line for line in (describe_sources(outlooks), describe_settled(outlooks)) if line]
    return Group(Text(title, "italic"), table, *map(Text, lines), *warnings, Text())


def describe_sources(outlooks: Sequence[Outlook]) -> str:
    """Where the spreads are from, and for which hypotheses."""
    sources: dict[str, list[str]] = {}
    for outlook in outlooks:
        sources.setdefault(outlook.spread_source, []).append(str(outlook.number))
    parts = [
        f"{source} for hypothes{'i' if len(numbers) == 1 else 'e'}s {', '.join(numbers)}"
        for source, numbers in sources.items()
    ]
    return f"Spread: {'; '.join(parts)}."


def describe_settled(outlooks: Sequence[Outlook]) -> str:
    """The verdicts that the finished runs give already; empty where they give none."""
    found = [outlook.verdict for outlook in outlooks if outlook.is_settled]
    parts = [f"{verdict.number} {verdict.verdict} ({len(verdict.seeds)} seeds)" for verdict in found if verdict]
    return f"Settled by finished runs: {', '.join(parts)}." if parts else ""


def warn(outlook: Outlook) -> str:
    """Why a hypothesis may stay open, in a line, for the table has the numbers; empty where it will be settled."""
    needed = outlook.seeds_needed
    if outlook.decidable:
        return ""
    if needed is None or outlook.smallest is None or outlook.is_final or outlook.is_near:
        return outlook.sentence
    kind = "ratio" if outlook.hypothesis.ratio else "advantage"
    subject, enough, seeds = f"Hypothesis {outlook.number}", number_of_seeds(needed), f"{outlook.num_seeds} seeds"
    if outlook.hypothesis.same:
        return f"{subject}: {seeds} cannot show that the arms are the same; {enough} would."
    if outlook.smallest == math.inf:
        return f"{subject}: no difference can show with {seeds}; {enough} would settle the margin."
    return (
        f"{subject} will probably stay open with {seeds} unless the {kind} is {least(outlook)} or more; "
        f"{enough} would settle the margin."
    )


def outlook_cells(outlook: Outlook) -> list[str]:
    """Number, claim, margin, spread, smallest advantage that shows, seeds that meet the margin."""
    hypothesis, needed = outlook.hypothesis, outlook.seeds_needed
    margin = f"{1 + hypothesis.margin if hypothesis.ratio else hypothesis.margin * outlook.metric.scale:g}"
    margin = f"ratio {margin}" if hypothesis.ratio else outlook.metric.with_unit(margin)
    if outlook.spread is None:
        spread = "–"
    else:
        spread = f"{100 * outlook.spread:.2g} %" if hypothesis.ratio else amount(outlook, outlook.spread)
    smallest = "–" if outlook.smallest is None or hypothesis.same else reach(outlook)
    seeds = "–" if needed is None else number_of_seeds(needed).removesuffix(" seeds")
    return [str(outlook.number), hypothesis.claim, margin, spread, smallest, seeds]


def reach(outlook: Outlook) -> str:
    """The smallest advantage that is likely to show, as it stands in the table."""
    if outlook.smallest == math.inf:
        return "none"
    return f"ratio {least(outlook)}" if outlook.hypothesis.ratio else least(outlook)


def least(outlook: Outlook) -> str:
    """The same as a number, with its unit where it has one."""
    assert outlook.smallest is not None
    return write(outlook.smallest, RATIO_DIGITS) if outlook.hypothesis.ratio else amount(outlook, outlook.smallest)


def amount(outlook: Outlook, value: float) -> str:
    """A difference with its unit, with no more digits than it needs."""
    return outlook.metric.with_unit(write(value, choose_digits(2 * value, outlook.metric.digits)))
