"""Runs that learnt no more than a prediction reaches that looks at no image: every pixel called pet."""

from collections.abc import Iterator

import pandas as pd

from analysis.numbers import runs_of

COUNTS = ("tp", "fp", "fn", "tn")
# A run that is not further above it has learnt next to nothing, in Dice.
CLOSE = 0.01


def trivial_dice(images: pd.DataFrame) -> float | None:
    """Mean per-image test Dice where every pixel that counts is called pet; None where images are not known.

    images: a row an image of each run, with pixel counts.  Taken from the first run that has them.
    """
    if images.empty or not set(COUNTS) <= set(images):
        return None
    first = images.drop_duplicates(["arm", "seed"])[["arm", "seed"]].iloc[0]
    of_run = images[(images["arm"] == first["arm"]) & (images["seed"] == first["seed"])].dropna(subset=list(COUNTS))
    pet = of_run["tp"] + of_run["fn"]
    called = of_run["tp"] + of_run["fn"] + of_run["fp"] + of_run["tn"]
    return float((2 * pet / (pet + called)).mean()) if len(of_run) else None


def describe_untrained(finished: pd.DataFrame, dice: float | None, primary: str) -> Iterator[str]:
    """A note where finished runs are no better than that.  dice: of `trivial_dice`.  primary: the metric's column."""
    if dice is None or primary not in finished:
        return
    poor = finished[finished[primary].astype(float) < dice + CLOSE]
    if len(poor):
        runs = runs_of((str(arm), int(seed)) for arm, seed in poor[["arm", "seed"]].itertuples(index=False))
        verb = "has" if len(poor) == 1 else "have"
        yield (
            f"{runs} {verb} learnt next to nothing: calling every pixel pet reaches a test Dice of {dice:.4f}, and "
            f"{'it is' if len(poor) == 1 else 'they are'} within {100 * CLOSE:g} point of that or below"
        )
