"""The report as a page, as Markdown and as LaTeX: templates that lay out the content and nothing else.

What a template prints is escaped for its language, always; sentences in which backticks mean code go through `prose`.
"""

import re
import textwrap
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.reporting.escape import (
    Raw,
    escape_latex,
    escape_markdown,
    prose_html,
    prose_latex,
    prose_markdown,
)
from analysis.reporting.model import Report, Table

HEADING_WIDTH = 14  # letters of a line in the head of a LaTeX table
LOADER = PackageLoader("analysis.reporting")


LAYOUT: dict[str, Any] = {"loader": LOADER, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
# Braces and percent signs are LaTeX's own.
LATEX_MARKS: dict[str, Any] = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


def html_environment() -> Environment:
    """For the page."""
    environment = Environment(autoescape=True, keep_trailing_newline=True, **LAYOUT)
    environment.filters["prose"] = prose_html
    return environment


def markdown_environment() -> Environment:
    """For Markdown; `finalize` escapes."""
    environment = Environment(finalize=escape_markdown, keep_trailing_newline=True, **LAYOUT)  # noqa: S701
    environment.filters["prose"] = prose_markdown
    return environment


def latex_environment() -> Environment:
    """For LaTeX; `finalize` escapes."""
    environment = Environment(finalize=escape_latex, keep_trailing_newline=True, **LAYOUT, **LATEX_MARKS)  # noqa: S701
    environment.filters["prose"] = prose_latex
    environment.filters["alignment"] = alignment
    environment.filters["heading"] = heading
    environment.filters["label"] = lambda text: Raw(file_name(text).replace("_", "-"))
    return environment


def alignment(table: Table) -> Raw:
    """A tabular's columns: numbers flush right; long text in paragraphs that share the line's width."""
    widest = [
        max([len(column.label), *(len(row[position]) for row in table.rows)])
        for position, column in enumerate(table.columns)
    ]
    is_long = [width > 30 and not column.is_number for width, column in zip(widest, table.columns, strict=True)]
    share = 0.42 / max(1, sum(is_long))
    letters = [
        f">{{\\raggedright\\arraybackslash}}p{{{share:.2f}\\linewidth}}" if long else "r" if column.is_number else "l"
        for long, column in zip(is_long, table.columns, strict=True)
    ]
    return Raw("@{}" + "".join(letters) + "@{}")


def heading(text: str) -> Raw:
    """A column's label, in several lines where it is long."""
    lines = [escape_latex(line) for line in textwrap.wrap(text, HEADING_WIDTH)]
    return lines[0] if len(lines) == 1 else Raw(r"\shortstack[r]{" + r" \\ ".join(lines) + "}")


def write_documents(report: Report, output: Path) -> None:
    """index.html, report.md, and what goes into a paper: claims, results, methods, deviations."""
    page, markdown, latex = html_environment(), markdown_environment(), latex_environment()
    write(output / "index.html", page.get_template("index.html").render(report=report))
    write(output / "report.md", markdown.get_template("report.md").render(report=report))
    write(output / "methods.tex", latex.get_template("methods.tex").render(report=report))
    write(output / "deviations.tex", latex.get_template("deviations.tex").render(report=report))
    tables = [report.claims_table, *(section.results for section in report.sections)]
    for table in tables:
        write(output / "tables" / f"{file_name(table.label)}.tex", latex.get_template("table.tex").render(table=table))


def file_name(text: str) -> str:
    """A name that every file system takes, and that leads nowhere else."""
    return re.sub(r"[^\w-]", "-", text)


def write(path: Path, text: str) -> None:
    """A text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
