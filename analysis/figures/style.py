"""One look for all figures: sizes, fonts, and one colour, line and marker an arm.

Widths are those of a two-column paper, and text is 7 points there.  Colours are Okabe and Ito's
(jfly.uni-koeln.de/color), which every kind of colour vision tells apart; in greyscale lines and markers do.
"""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib.style
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from analysis.figures import fonts

COLUMN, PAGE = 3.4, 7.0  # inches: one column, and both
DPI = 200
TEXT = 7.0  # points

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
LINES = ("-", (0, (4.5, 1.5)), (0, (2, 1)), (0, (6, 1.4, 1, 1.4)), (0, (10, 2.5)), (0, (4, 1.2, 1, 1.2, 1, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# By how much the markers are shifted in each turn through the colours: with these any two of colour, line and marker
# tell 36 arms apart (found by trying all).
MARKER_SHIFTS = (0, 6, 5, 4, 2, 1)

INK, GREY, PALE = "#222222", "#858585", "#EDEDED"
SEED_WIDTH, MEAN_WIDTH = 0.5, 1.4  # points
BAND_ALPHA = 0.18
SEED_SIZE, MEAN_SIZE = 3.2, 6.0  # points

RC: dict[str, Any] = sns.axes_style("ticks") | {
    "font.size": TEXT,
    "axes.titlesize": TEXT + 0.5,
    "axes.labelsize": TEXT,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "legend.fontsize": TEXT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "grid.linestyle": "-",
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.frameon": False,
    "legend.columnspacing": 1.2,
    "lines.dash_capstyle": "butt",
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "text.hinting": "none",  # hinted text is wider at some resolutions than at that of the layout, and would be cut
    "pdf.fonttype": 42,  # TrueType: text in the PDF stays text
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a name is a dollar; no label of ours is mathematics
}

LINE_LENGTH = 2.8  # of a legend's lines, in heights of its text
LABEL_WIDTH = 26  # letters of an arm's name in a line
LETTER, HANDLE, LINE_HEIGHT = 0.058, 0.48, 0.14  # inches in a legend: a letter, a handle with its space, a line of text


Options = dict[str, Any]  # of a drawing function of matplotlib


@dataclass(frozen=True)
class Look:
    """How an arm is drawn."""

    colour: str
    line: str | tuple[float, tuple[float, ...]]
    marker: str


def look(position: int) -> Look:
    """The look of the arm at that position of its ablation: 36 different ones, then again from the first."""
    turn, number = divmod(position % (len(COLOURS) * len(LINES)), len(COLOURS))
    marker = MARKERS[(number + MARKER_SHIFTS[turn]) % len(MARKERS)]
    return Look(COLOURS[number], LINES[(number + turn) % len(LINES)], marker)


def arm_looks(arms: Iterable[str]) -> dict[str, Look]:
    """Every arm's look, by its position."""
    return {arm: look(position) for position, arm in enumerate(arms)}


@contextmanager
def styled() -> Iterator[None]:
    """Inside, matplotlib draws in this look, whatever the user's own settings are; they are back afterwards."""
    with matplotlib.style.context(["default", RC | {"font.family": fonts.families()}]), fonts.quiet():
        yield


def seed_alpha(num_seeds: int) -> float:
    """The opacity of one seed's line: less where there are many, so that the mean stays in front."""
    return min(0.5, 1.6 / max(1, num_seeds))


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches, that needs no display; its parts make room for each other."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def settle(figure: Figure) -> None:
    """Places the parts for good: a layout that is solved again in every drawing moves a little each time."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    for axes in figure.axes:
        # The layout leaves no room for a label that is longer than its axis: it ends with the axis, then.
        label = axes.xaxis.label
        if label.get_window_extent().x1 > figure.bbox.width:
            label.set(x=1.0, horizontalalignment="right")


def wrap(text: str, width: int = LABEL_WIDTH) -> str:
    """A text in lines of that many letters, of wide ones half as many; a word that is longer is cut."""
    num_wide = sum(map(fonts.is_wide, text))
    return "\n".join(textwrap.wrap(text, max(1, width * len(text) // (len(text) + num_wide or 1)))) or text


def add_legend(figure: Figure, looks: Mapping[str, Look], *, lines: bool = True) -> None:
    """The arms above the axes.  lines: show line and marker of each, else the marker alone."""
    add_handles(figure, [arm_handle(one, lines=lines) for one in looks.values()], list(looks), lines=lines)


def add_handles(figure: Figure, handles: Sequence[Artist], names: Sequence[str], *, lines: bool = False) -> None:
    """A legend above the axes, where it hides no data, as low as the names allow; the figure grows by its height."""
    width, height = figure.get_size_inches()
    num_lines, _, num_columns, labels = min(legend_layouts(names, width), key=lambda layout: layout[:2])
    figure.set_size_inches(width, height + num_lines * LINE_HEIGHT + 0.08)
    figure.legend(
        handles=list(handles),
        labels=labels,
        loc="outside upper center",
        ncols=num_columns,
        handlelength=LINE_LENGTH if lines else 1.0,
    )


def legend_layouts(names: Sequence[str], width: float) -> Iterator[tuple[int, int, int, list[str]]]:
    """Ways to set a legend of that width (inches): lines of text, lines of the longest name, columns, and the names."""
    for num_columns in range(1, len(names) + 1):
        num_letters = int((width / num_columns - HANDLE) / LETTER)
        if num_columns > 1 and num_letters < max(len(word) for name in names for word in name.split()):
            return
        labels = [wrap(name, num_letters) for name in names]
        highest = max(label.count("\n") + 1 for label in labels)
        yield -(-len(names) // num_columns) * highest, highest, num_columns, labels


def arm_handle(one: Look, *, lines: bool) -> Line2D:
    """What stands before an arm's name in a legend."""
    line: Options = {"linestyle": one.line if lines else "none", "linewidth": MEAN_WIDTH}
    mark: Options = {"marker": one.marker, "markersize": SEED_SIZE + 0.8, "markeredgewidth": 0}
    return Line2D([], [], color=one.colour, **line, **mark)


def shape_handle(shape: str) -> Line2D:
    """What stands before a name in a legend of shapes alone, in ink."""
    mark: Options = {"marker": shape, "markersize": 4.2, "markeredgewidth": 0.7, "markerfacecolor": "none"}
    return Line2D([], [], linestyle="none", color=INK, alpha=0.8, **mark)


def label_rows(axes: Axes, texts: Sequence[str]) -> None:
    """Names along the y axis, from the top down; a row is 1 high, the first is at 0."""
    axes.set_yticks(range(len(texts)), texts)
    axes.set_ylim(len(texts) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def rows_height(texts: Sequence[str], least: float = 0.26) -> float:
    """Inches that rows of those names need, all as high as the highest."""
    highest = max(text.count("\n") + 1 for text in texts)
    return len(texts) * max(least, LINE_HEIGHT * highest + 0.06)


def arm_names(looks: Iterable[str]) -> list[str]:
    """The arms' names as they stand before rows."""
    return [wrap(arm) for arm in looks]


def write_log_axis(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis between those values, written as plain numbers."""
    wide = high > 50 * low
    axis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)) if high > 4 * low else MaxNLocator(nbins=6))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
