"""Which trainings there were: arms and ablations may share some, and each counts once."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.metrics import TEST_AT_HALF
from analysis.reporting.material import Material
from analysis.reporting.topics import Params, border, split, value

VALIDATION = "val/dice_per_image"
NOT_RECORDED = ""


def trainings_of(materials: Sequence[Material]) -> pd.DataFrame:
    """A row a training with validation and test Dice: ablation, arm, unit, seed, validation, test, data.

    Both are at a threshold of 0.5; validation is that of the best epoch, whose weights are tested.  Where arms share a
    training and differ in the evaluation alone, test is the first one's.  unit: arms that share a training are one.
    data: as `kind_of_data`.
    """
    runs = finished_runs(materials).dropna(subset=["validation", "test"])
    units, is_first = group_arms(runs)
    # As a series of its type: an empty list would select no columns instead of no rows.
    return runs.assign(unit=units)[pd.Series(is_first, runs.index, dtype=bool)].reset_index(drop=True)


def shared_arms(materials: Sequence[Material]) -> list[list[tuple[str, str]]]:
    """The arms (ablation, arm) that share trainings, a list for each set of them."""
    runs = finished_runs(materials)
    sets: dict[int, dict[tuple[str, str], None]] = {}
    for unit, ablation, arm in zip(group_arms(runs)[0], runs["ablation"], runs["arm"], strict=True):
        sets.setdefault(unit, {})[ablation, arm] = None
    return [list(arms) for arms in sets.values() if len(arms) > 1]


def finished_runs(materials: Sequence[Material]) -> pd.DataFrame:
    """The finished runs of all ablations, copies and shared trainings as often as they occur."""
    frames = []
    for material in materials:
        results = material.results
        epochs = results.epochs[results.epochs["metric"] == VALIDATION]
        best = epochs.groupby(["arm", "seed"])["value"].max().rename("best")
        frame = material.finished.join(best, on=["arm", "seed"])
        params = [results.params.get(str(run_id), {}) for run_id in frame["run_id"]]
        frames.append(
            pd.DataFrame(
                {
                    "ablation": material.label,
                    "arm": frame["arm"],
                    "seed": frame["seed"],
                    "fingerprint": frame["fingerprint"].fillna(NOT_RECORDED),
                    "validation": frame["best"].fillna(frame[VALIDATION]).astype("float64"),
                    "test": frame[TEST_AT_HALF].astype("float64"),
                    "seconds": frame["train_seconds"].fillna(0.0),
                    "data": list(map(kind_of_data, frame["data_fingerprint"], params)),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def kind_of_data(fingerprint: Any, params: Params) -> str:
    """What has to be alike for two Dice to be of the same images and truths: content, split, border, image size.

    "" where it was not recorded.
    """
    if not isinstance(fingerprint, str) or not fingerprint or not params:
        return NOT_RECORDED
    return f"{fingerprint}: {split(params)}; {border(params)}; {value(params, 'data.image_size')} pixels"


def group_arms(runs: pd.DataFrame) -> tuple[list[int], list[bool]]:
    """For each run the number of its set of arms that share trainings, and whether its training is seen first there.

    Two runs are one training where their fingerprints are the same (a copy), or where in one ablation and seed their
    best validation values and their training times are, to the last digit (arms that differ in the evaluation alone).
    """
    unit_of: dict[tuple[str, str], int] = {}
    trainings: dict[Any, tuple[str, str]] = {}
    is_first = []
    columns = ["ablation", "arm", "seed", "validation", "seconds", "fingerprint"]
    for ablation, arm, seed, validation, seconds, fingerprint in runs[columns].itertuples(index=False):
        own = unit_of.setdefault((ablation, arm), len(unit_of))
        keys: list[Any] = [(ablation, seed, validation, seconds)] + (
            [fingerprint] if fingerprint != NOT_RECORDED else []
        )
        others = [unit_of[trainings[key]] for key in keys if key in trainings]
        is_first.append(not others)
        for other in others:
            unit_of = {place: other if unit == own else unit for place, unit in unit_of.items()}
            own = other
        for key in keys:
            trainings.setdefault(key, (ablation, arm))
    return [unit_of[place] for place in zip(runs["ablation"], runs["arm"], strict=True)], is_first
