"""A finished figure with its name and caption, what it is made from, and its files."""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis.definition import Definition
from analysis.figures import fonts
from analysis.figures.style import DPI, Look, arm_looks, settle, styled
from analysis.numbers import join, name_seeds, plural

MOST_NAMED = 4
LONGEST_STEM = 200  # letters; file systems take 255 bytes, the ending included


@dataclass(frozen=True, eq=False)
class Picture:
    """One finished figure.

    name: the files' stem, such as fig06_lr_sweep_loss, a safe one (`safe_stem`).  caption: plain text; says
    what is shown, n, and the kind of interval.
    """

    name: str
    title: str
    caption: str
    figure: Figure


class LeftOutError(Exception):
    """A figure that cannot be made; the message is a clause that says why."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What the figures of one ablation are about.

    runs: a row a run of the definition's arms.  context: data, image size and epochs in a phrase.
    """

    definition: Definition
    runs: pd.DataFrame
    context: str

    @cached_property
    def looks(self) -> dict[str, Look]:
        """Every arm's look, in the definition's order."""
        return arm_looks(self.definition.arms)

    def looks_of(self, arms: Iterable[str]) -> dict[str, Look]:
        """Some arms' looks, in the definition's order."""
        chosen = set(arms)
        return {arm: one for arm, one in self.looks.items() if arm in chosen}

    def of_arms(self, arms: Collection[str]) -> str:
        """` of A or B` where a figure shows only some of the arms; nothing where it shows all."""
        return "" if set(arms) >= set(self.definition.arms) else f" of {join(arms, 'or')}"

    def how_many(self, arms: Collection[str]) -> str:
        """`, 2 of 3 arms` where a figure shows only some of the arms; nothing where it shows all."""
        return f", {len(arms)} of {len(self.definition.arms)} arms" if self.of_arms(arms) else ""

    def picture(self, name: str, what: str, figure: Figure, sentences: Sequence[str]) -> Picture:
        """A figure with the ablation's title, and its caption closed by the data."""
        return finish(name, f"{self.definition.title}: {what}", figure, [*sentences, f"{self.context}."])


def finish(name: str, title: str, figure: Figure, sentences: Iterable[str]) -> Picture:
    """A picture whose parts are placed for good; sentences that are empty are left out of the caption."""
    with styled():
        settle(figure)
        said = [sentence for sentence in (*sentences, fonts.describe_lacking(figure)) if sentence]
    return Picture(safe_stem(name), title, " ".join(said), figure)


def safe_stem(name: str) -> str:
    """A name as the stem of a file that lies in its folder on every system: Latin letters, digits, `_`, `-` and dots.

    A name that has to be changed for it ends in six hex digits of its own, so that two such names stay apart.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-")
    if safe == name and 0 < len(name) <= LONGEST_STEM:
        return name
    return f"{safe[: LONGEST_STEM - 7] or 'figure'}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:6]}"


def save(picture: Picture, folder: Path) -> list[Path]:
    """Writes NAME.png and NAME.pdf; the same picture gives the same bytes (no dates, no program versions)."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = safe_stem(picture.name)
    paths = [folder / f"{stem}.png", folder / f"{stem}.pdf"]
    nothing: Mapping[str, dict[str, None]] = {
        ".png": {"Software": None},
        ".pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }
    with styled():
        if fonts.borrows(picture.figure):
            # OpenType outlines, such as those of Noto Sans CJK, come out blank where they are embedded as TrueType.
            matplotlib.rcParams["pdf.fonttype"] = 3
        for path in paths:
            picture.figure.savefig(path, dpi=DPI, metadata=nothing[path.suffix])
    return paths


def finished(runs: pd.DataFrame, looks: Iterable[str]) -> pd.DataFrame:
    """The finished runs of those arms."""
    return runs[(runs["state"] == "finished") & runs["arm"].isin(list(looks))]


def of_runs(frame: pd.DataFrame, runs: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows of a frame are of one of those runs, told by arm and seed."""
    if frame.empty or runs.empty:
        return pd.Series(False, index=frame.index, dtype=bool)
    chosen = pd.MultiIndex.from_frame(runs[["arm", "seed"]])
    return pd.Series(pd.MultiIndex.from_frame(frame[["arm", "seed"]]).isin(chosen), index=frame.index, dtype=bool)


def seeds_sentence(runs: pd.DataFrame, looks: Iterable[str], drawn: pd.DataFrame, lacking: str = "no value") -> str:
    """How many seeds of each arm are drawn, and which runs are not.

    drawn: rows with arm and seed, any number a run, of exactly what the figure shows.  lacking: what is said of a
    finished run that is not among them; of any other its state is.
    """
    arms = list(looks)
    is_drawn = of_runs(runs, drawn) & runs["arm"].isin(arms)
    numbers = runs[is_drawn].groupby("arm")["seed"].nunique().reindex(arms, fill_value=0)
    fewest, most = int(numbers.min()), int(numbers.max())
    sentence = (
        f"n = {plural(most, 'seed')} an arm" if fewest == most else f"n = {fewest} to {plural(most, 'seed')} an arm"
    )
    return f"{sentence}{absent_clause(runs[runs['arm'].isin(arms) & ~is_drawn], lacking)}."


def absent_clause(absent: pd.DataFrame, lacking: str = "no value") -> str:
    """The runs that a figure lacks, as a clause; nothing where it lacks none."""
    if absent.empty:
        return ""
    states = absent["state"].where(absent["state"] != "finished", lacking)
    groups = [
        (f"{arm}, {name_seeds([*map(int, seeds)])} ({state})", len(seeds))
        for (arm, state), seeds in absent.groupby(["arm", states], sort=False)["seed"]
    ]
    named = [text for text, _ in groups[:MOST_NAMED]]
    others = sum(number for _, number in groups[MOST_NAMED:])
    return f"; without {'; '.join([*named, *([f'{others} more'] if others else [])])}"
