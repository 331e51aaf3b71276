"""Verdicts and outlooks as the terminal shows them."""

from collections.abc import Collection, Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.planning import Outlook
from analysis.rounding import choose_digits, write
from analysis.sentences import RATIO_DIGITS, name_seeds
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


def show_outlooks(outlooks: Sequence[Outlook], left_out: Collection[str] = ()) -> Group:
    """What the seeds can show of each hypothesis, and a warning for each that they cannot settle.

    left_out: arms that will have no run.
    """
    if not outlooks:
        return Group(Text("No hypothesis is declared, so there will be no verdict.", WARNING), Text())
    seeds = outlooks[0].num_seeds
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("hypothesis")
    for header in ("margin", "spread\nover seeds", "smallest\nthat shows", "seeds for\nthe margin"):
        table.add_column(header, justify="right", no_wrap=True)
    for outlook in outlooks:
        table.add_row(*map(Text, outlook_cells(outlook)), style=WARNING if warn(outlook, left_out) else None)
    title = f"What {seeds} seed{'s' * (seeds != 1)} can show"
    warnings = (Text(warning, WARNING) for outlook in outlooks if (warning := warn(outlook, left_out)))
    return Group(Text(title, "italic"), table, Text(describe_sources(outlooks)), *warnings, Text())


def describe_sources(outlooks: Sequence[Outlook]) -> str:
    """Where the spreads are from, and of which hypotheses."""
    sources: dict[str, list[str]] = {}
    for outlook in outlooks:
        sources.setdefault(outlook.spread_source, []).append(str(outlook.number))
    parts = [f"{', '.join(numbers)} {source}" for source, numbers in sources.items()]
    return f"Spread of {'; '.join(parts)}."


def warn(outlook: Outlook, left_out: Collection[str]) -> str:
    """Why a hypothesis may stay open, in a line, for the table has the numbers; empty where it will be settled."""
    missing = [arm for arm in (outlook.hypothesis.first, outlook.hypothesis.second) if arm in left_out]
    if missing:
        return f"Hypothesis {outlook.number}: {' and '.join(missing)} will have no run, so nothing can be compared."
    needed = outlook.seeds_needed
    if outlook.decidable:
        return ""
    if needed is None:
        return outlook.sentence
    subject, enough = f"Hypothesis {outlook.number}", name_seeds((needed, needed))
    if outlook.num_seeds < 2 or outlook.smallest is None:
        return f"{subject}: one seed decides nothing; {enough} would settle the margin."
    if outlook.hypothesis.same:
        return f"{subject}: {outlook.num_seeds} seeds cannot show that the arms are the same; {enough} would."
    return (
        f"{subject} will probably stay open with {outlook.num_seeds} seeds unless the advantage is {reach(outlook)} or "
        f"more; {enough} would settle the margin."
    )


def outlook_cells(outlook: Outlook) -> list[str]:
    """Number, claim, margin, spread, smallest advantage that shows, seeds that meet the margin."""
    hypothesis, needed = outlook.hypothesis, outlook.seeds_needed
    margin = f"ratio {1 + hypothesis.margin:g}" if hypothesis.ratio else amount(outlook, scaled_margin(outlook))
    if outlook.spread is None:
        spread = "–"
    else:
        spread = f"{100 * outlook.spread:.2g} %" if hypothesis.ratio else amount(outlook, outlook.spread)
    smallest = "–" if outlook.smallest is None or hypothesis.same else reach(outlook)
    seeds = "–" if needed is None else name_seeds((needed, needed)).removesuffix(" seeds")
    return [str(outlook.number), hypothesis.claim, margin, spread, smallest, seeds]


def reach(outlook: Outlook) -> str:
    """The smallest advantage that is likely to show."""
    assert outlook.smallest is not None
    if outlook.hypothesis.ratio:
        return f"ratio {write(outlook.smallest, RATIO_DIGITS)}"
    return amount(outlook, outlook.smallest)


def scaled_margin(outlook: Outlook) -> float:
    """The margin in the metric's unit."""
    return outlook.hypothesis.margin * outlook.metric.scale


def amount(outlook: Outlook, value: float) -> str:
    """A difference with its unit, with no more digits than it needs."""
    text = write(value, choose_digits(2 * value, outlook.metric.digits))
    return f"{text} {outlook.metric.unit}".rstrip()
