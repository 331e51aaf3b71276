"""What a section is made of: an ablation's results, its verdicts, and what its file says today."""

from dataclasses import dataclass

import pandas as pd

from analysis.definition import Definition
from analysis.results import Results
from analysis.verdicts import Verdict

# Runs of these states have no environment: nothing was computed.
NEVER_STARTED = ("not run", "missing")


@dataclass(frozen=True)
class Material:
    """One ablation.

    file: its definition in `experiments/` as it is now, None where there is none of that name.  has_files: whether
    there is such a folder to compare with at all.
    """

    results: Results
    verdicts: tuple[Verdict, ...]
    images: pd.DataFrame
    curves: pd.DataFrame
    notes: tuple[str, ...]
    file: Definition | None
    has_files: bool

    @property
    def made(self) -> pd.DataFrame:
        """The runs for which something was computed."""
        runs = self.results.runs
        return runs[runs["run_id"].notna() & ~runs["state"].isin(NEVER_STARTED)]

    @property
    def finished(self) -> pd.DataFrame:
        """The finished runs."""
        return self.results.runs[self.results.runs["state"] == "finished"]
