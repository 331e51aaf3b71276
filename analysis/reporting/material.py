"""What a section is made of: an ablation's results, its verdicts, and what its file says today."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.definition import Definition
from analysis.figures.output import safe_stem
from analysis.numbers import flat
from analysis.results import Results
from analysis.verdicts import Verdict

# Runs of these states have no environment: nothing was computed.
NEVER_STARTED = ("not run", "missing")


@dataclass(frozen=True)
class Material:
    """One ablation.

    file: its definition in `experiments/` as it is now, None where there is none of that name.  has_files: whether
    there is such a folder to compare with at all.  stem, label, place: what it is called in names of files, in text and
    in the table of claims; of no two in a report the same (see `told_apart`).
    """

    results: Results
    verdicts: tuple[Verdict, ...]
    images: pd.DataFrame
    curves: pd.DataFrame
    notes: tuple[str, ...]
    file: Definition | None
    has_files: bool
    stem: str = ""
    label: str = ""
    place: str = ""

    @property
    def made(self) -> pd.DataFrame:
        """The runs for which something was computed."""
        runs = self.results.runs
        return runs[runs["run_id"].notna() & ~runs["state"].isin(NEVER_STARTED)]

    @property
    def finished(self) -> pd.DataFrame:
        """The finished runs."""
        return self.results.runs[self.results.runs["state"] == "finished"]


def told_apart(materials: Sequence[Material]) -> list[Material]:
    """The materials with names that no two of them share: two presets of one ablation get those of their experiments.

    An experiment's own name is its alone in MLflow.
    """
    experiments = [material.results.experiment for material in materials]
    definitions = [material.results.definition for material in materials]
    titles = [flat(definition.title) for definition in definitions]
    stems = unlike([definition.name for definition in definitions], experiments)
    labels = unlike(titles, [f"{title} ({name})" for title, name in zip(titles, experiments, strict=True)])
    sections = [flat(definition.section or "") for definition in definitions]
    longer = [f"{section} ({name})" for section, name in zip(sections, experiments, strict=True)]
    places = unlike([section or label for section, label in zip(sections, labels, strict=True)], longer)
    return [
        replace(material, stem=safe_stem(stem), label=label, place=place)
        for material, stem, label, place in zip(materials, stems, labels, places, strict=True)
    ]


def unlike(texts: Sequence[str], longer: Sequence[str]) -> list[str]:
    """Each text, or the longer one in its stead where it stands more than once; the longer ones all differ."""
    found = list(texts)
    while (counts := Counter(found)) and max(counts.values()) > 1:
        found = [other if counts[text] > 1 else text for text, other in zip(found, longer, strict=True)]
    return found
