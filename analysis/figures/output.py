"""A finished figure with its name and caption, what it is made from, and its files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.definition import Definition
from analysis.figures.style import DPI, Look, arm_looks, settle, styled

MOST_NAMED = 4


@dataclass(frozen=True, eq=False)
class Picture:
    """One finished figure.

    name: the files' stem, such as fig06_lr_sweep_loss.  caption: plain text; says what is shown, n, and the kind of
    interval.
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

    def picture(self, name: str, what: str, figure: Figure, sentences: Sequence[str]) -> Picture:
        """A figure with the ablation's title, and its caption closed by the data."""
        return finish(name, f"{self.definition.title}: {what}", figure, [*sentences, f"{self.context}."])


def finish(name: str, title: str, figure: Figure, sentences: Iterable[str]) -> Picture:
    """A picture whose parts are placed for good; sentences that are empty are left out of the caption."""
    with styled():
        settle(figure)
    return Picture(name, title, " ".join(sentence for sentence in sentences if sentence), figure)


def save(picture: Picture, folder: Path) -> list[Path]:
    """Writes NAME.png and NAME.pdf; the same picture gives the same bytes (no dates, no program versions)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{picture.name}.png", folder / f"{picture.name}.pdf"]
    nothing: Mapping[str, dict[str, None]] = {
        ".png": {"Software": None},
        ".pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }
    with styled():
        for path in paths:
            picture.figure.savefig(path, dpi=DPI, metadata=nothing[path.suffix])
    return paths


def finished(runs: pd.DataFrame, looks: Iterable[str]) -> pd.DataFrame:
    """The finished runs of those arms."""
    return runs[(runs["state"] == "finished") & runs["arm"].isin(list(looks))]


def seeds_sentence(runs: pd.DataFrame, looks: Iterable[str], metric: str | None = None) -> str:
    """How many finished seeds each arm has (with a value of the metric), and which runs are not among them."""
    arms = list(looks)
    counted = finished(runs, arms)
    if metric is not None:
        counted = counted[counted[metric].notna()]
    numbers = counted.groupby("arm")["seed"].nunique().reindex(arms, fill_value=0)
    fewest, most = int(numbers.min()), int(numbers.max())
    sentence = (
        f"n = {count(most, 'seed')} an arm" if fewest == most else f"n = {fewest} to {count(most, 'seed')} an arm"
    )
    absent = runs[runs["arm"].isin(arms) & ~runs.index.isin(counted.index)]
    return f"{sentence}{absent_clause(absent)}."


def absent_clause(absent: pd.DataFrame) -> str:
    """The runs that a figure lacks, as a clause; nothing where it lacks none."""
    if absent.empty:
        return ""
    named = [
        f"{arm}, seed {seed} ({state if state != 'finished' else 'no value'})"
        for arm, seed, state in absent[["arm", "seed", "state"]].head(MOST_NAMED).to_numpy()
    ]
    more = [f"{len(absent) - MOST_NAMED} more"] if len(absent) > MOST_NAMED else []
    return f"; without {'; '.join([*named, *more])}"


def count(number: int, thing: str, things: str = "") -> str:
    """A number and its thing, in the plural where it is one."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def join(words: Sequence[str]) -> str:
    """Words in a sentence: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
