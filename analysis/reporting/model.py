"""What a report says, free of any layout: text and numbers as they are read, in the order in which they are read.

All text is plain; `code` stands between backticks in sentences.  Numbers are formatted here once, so that page,
Markdown and LaTeX cannot differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

OVERALL = "overall"  # the anchor of what all runs say together
COLUMN_PIXELS = 900  # figures for one column of a paper are narrower
# With the sign that tells them apart without colour; the order is that in which they are counted.
VERDICTS = {"supported": "+", "reversed": "−", "equivalent": "=", "inconclusive": "?"}


@dataclass(frozen=True)
class Column:
    """A table's column; numbers are set flush right."""

    label: str
    is_number: bool = False


@dataclass(frozen=True)
class Table:
    """Cells of text in rows.  label: what tells it apart in a paper (`lr_sweep_results`)."""

    label: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Claim:
    """One hypothesis and what became of it.

    place: the section or ablation that it stands in.  arms: how they are compared (`A better than B`).
    estimate, interval: of the advantage of the first of these arms, with its unit.  extent: what the interval is over.
    evidence: phrases of what else was found, where there is anything: which metric, the interval that the verdict is
    read off, the difference of each seed.
    """

    place: str
    anchor: str
    claim: str
    verdict: str
    sign: str
    arms: str
    estimate: str
    interval: str
    extent: str
    evidence: tuple[str, ...]
    sentence: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Plate:
    """A figure.

    file, pdf: its files, relative to the report's folder.  data: the picture as a data URI, for the page.
    """

    name: str
    title: str
    caption: str
    file: str
    pdf: str
    data: str
    width: int
    height: int

    @property
    def is_wide(self) -> bool:
        """Whether it needs the page's whole width to be read."""
        return self.width > COLUMN_PIXELS


@dataclass(frozen=True)
class Section:
    """An ablation: a question, what was compared, what came out."""

    anchor: str
    number: str
    title: str
    experiment: str
    plan: str
    question: str
    compared: tuple[str, ...]
    arms: Table
    results: Table
    seeds: Table
    claims: tuple[Claim, ...]
    images: Table | None
    plates: tuple[Plate, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Overall:
    """What all runs say together: does the test set follow the validation images?"""

    sentences: tuple[str, ...]
    plates: tuple[Plate, ...]


@dataclass(frozen=True)
class NotRun:
    """An ablation without runs, and the command that makes them."""

    number: str
    title: str
    question: str
    num_claims: int
    command: str


@dataclass(frozen=True)
class Check:
    """One way in which runs may depart from what was planned, and where they did; no findings: nowhere."""

    title: str
    findings: tuple[str, ...]
    none: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of the methods."""

    title: str
    text: str


@dataclass(frozen=True)
class Report:
    """The whole."""

    title: str
    scope: str
    counts: tuple[tuple[str, int], ...]
    summary: tuple[str, ...]
    claims: tuple[Claim, ...]
    claims_table: Table
    sections: tuple[Section, ...]
    overall: Overall
    deviations: tuple[Check, ...]
    methods: tuple[Paragraph, ...]
    not_run: tuple[NotRun, ...]
    notes: tuple[str, ...]


def unique(texts: Sequence[str]) -> tuple[str, ...]:
    """Each text once, in the order of its first appearance."""
    return tuple(dict.fromkeys(texts))
