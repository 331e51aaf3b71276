"""Text that stays text in Markdown and in LaTeX, whatever stands in it; sentences whose backticks mean code."""

import re
from collections.abc import Callable

from markupsafe import Markup, escape

CODE = re.compile(r"`([^`]*)`")
# Not the hyphen of a word or an exponent: one before a number.
MINUS = re.compile(r"(?<![\w.-])-(?=\d)")

# Two of them would become a dash in LaTeX.
HYPHENS = re.compile(r"-(?=-)")

# What begins a heading, a list or a line across the page.
BEGINNING = re.compile(r"^(\d*)([#+=.)-]+)(?=\s|$)")

MARKDOWN = re.compile(r"([\\`*\[\]|~$])")
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': "''",
    # After a line of a table these would be taken for its arguments.
    "[": "{[}",
    "*": "{*}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "…": r"\dots{}",
    "°": r"\textdegree{}",
}


class Raw(str):
    """Text that is escaped already, or a part of a document."""


def escape_markdown(text: object) -> Raw:
    """Plain text for Markdown, also inside of a table's cell and at the beginning of a line."""
    return text if isinstance(text, Raw) else Raw(BEGINNING.sub(r"\1\\\2", escape_inside(str(text))))


def escape_inside(text: str) -> str:
    """Plain text in the middle of a line of Markdown."""
    escaped = MARKDOWN.sub(r"\\\1", text)
    # Inside of a word an underscore means nothing, and names stay readable.
    escaped = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_latex(text: object) -> Raw:
    """Plain text for LaTeX."""
    if isinstance(text, Raw):
        return text
    pieces = HYPHENS.split(MINUS.sub("−", str(text)))
    return Raw("-{}".join("".join(LATEX.get(letter, letter) for letter in piece) for piece in pieces))


def with_code(text: object, plain: Callable[[str], str], code: Callable[[str], str]) -> str:
    """A sentence whose parts between backticks are code."""
    parts = CODE.split(str(text))
    return "".join(code(part) if position % 2 else plain(part) for position, part in enumerate(parts))


def prose_html(text: object) -> Markup:
    """A sentence for HTML."""
    return Markup(with_code(text, lambda part: escape(part), lambda part: Markup("<code>{}</code>").format(part)))  # noqa: S704


def prose_markdown(text: object) -> Raw:
    """A sentence for Markdown; a bar inside of code would end a table's cell."""
    line = with_code(text, escape_inside, lambda part: "`" + part.replace("|", r"\|") + "`")
    return Raw(BEGINNING.sub(r"\1\\\2", line))


def prose_latex(text: object) -> Raw:
    """A sentence for LaTeX."""
    return Raw(with_code(text, escape_latex, lambda part: rf"\texttt{{{escape_latex(part)}}}"))
