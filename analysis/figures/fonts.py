"""Characters that the figures' own font lacks: fonts to fall back on, and what to say where none has them."""

import logging
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.numbers import join

OWN = "DejaVu Sans"  # comes with matplotlib, so that every machine draws the same
# Widely installed fonts, of Linux, macOS and Windows: Chinese, Japanese and Korean first, then other scripts and emoji.
OTHERS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR", "Source Han Sans"),
    *("Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "IPAexGothic", "IPAGothic", "NanumGothic"),
    *("Hiragino Sans", "PingFang SC", "Hiragino Sans GB", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Yu Gothic", "Microsoft YaHei", "MS Gothic", "SimHei", "Malgun Gothic", "Nirmala UI", "Leelawadee UI"),
    *("Noto Sans", "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai", "FreeSans"),
    *("Noto Emoji", "Segoe UI Emoji", "Segoe UI Symbol", "Noto Sans Symbols", "Noto Sans Symbols 2", "Symbola"),
)
MOST_NAMED = 12


@cache
def installed() -> tuple[str, ...]:
    """Those of OTHERS that this machine has: matplotlib warns of any other at every text."""
    names = set(font_manager.fontManager.get_font_names())
    return tuple(name for name in OTHERS if name in names)


def families() -> list[str]:
    """The fonts of every text, each for what those before it lack.

    As `font.family`: matplotlib takes one font alone from `font.sans-serif`.
    """
    return [OWN, *installed()]


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, matplotlib does not tell of characters and weights that a font lacks: of the former the captions do."""
    log = logging.getLogger(font_manager.__name__)
    level = log.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)


def lacking(figure: Figure, names: Sequence[str]) -> list[str]:
    """The characters of a figure's texts that none of those fonts has, each once, in their order."""
    faces = [font_manager.get_font(font_manager.findfont(name)) for name in names]
    found = dict.fromkeys("".join(text.get_text() for text in figure.findobj(Text)))  # type: ignore[attr-defined]
    return [
        character
        for character in found
        if unicodedata.category(character) not in ("Cc", "Cf")  # nothing is drawn for these
        and not any(face.get_char_index(ord(character)) for face in faces)
    ]


def borrows(figure: Figure) -> bool:
    """Whether a text of the figure needs another font than its own, and there is one that has it."""
    return len(lacking(figure, [OWN])) > len(lacking(figure, families()))


def describe_lacking(figure: Figure) -> str:
    """The characters that are boxes in the figure, and what to do, as a sentence; empty where there are none."""
    characters = lacking(figure, families())
    if not characters:
        return ""
    named = " ".join(characters[:MOST_NAMED]) + (" …" if len(characters) > MOST_NAMED else "")
    return (
        f"Boxes: characters that none of the installed fonts in use has ({named}); install "
        f"{join(dict.fromkeys(map(font_for, characters)))}, say, and empty matplotlib's font cache."
    )


def font_for(character: str) -> str:
    """A free font of OTHERS for a character."""
    if unicodedata.category(character) == "So":
        return "Noto Emoji"
    return "Noto Sans CJK" if is_wide(character) else "Noto Sans"


def is_wide(character: str) -> bool:
    """Whether a character is about twice as wide as a Latin letter, as Chinese and Japanese ones are."""
    return unicodedata.east_asian_width(character) in ("W", "F")
