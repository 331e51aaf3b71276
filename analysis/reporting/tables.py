"""The tables of a section: what was compared, what came out, every seed."""

from collections.abc import Sequence

import pandas as pd

from analysis.definition import Definition
from analysis.metrics import METRICS, PRIMARY, metric_of
from analysis.numbers import NONE, duration_unit, flat, mean_and_spread, number, setting
from analysis.reporting.material import Material
from analysis.reporting.model import Column, Table
from analysis.reporting.trivial import trivial_row
from analysis.results import Results

FINISHED = "finished"
# Shown of every ablation, in this order; claims may add others.
SHOWN = {
    PRIMARY: "Dice",
    "test/dice_dataset": "dataset Dice",
    "test/iou_per_image": "IoU",
    "test/iou_dataset": "dataset IoU",
    "test_at_0.4/dice_batch": "batch Dice at 0.4",
    "threshold": "threshold",
}
COSTS = ("parameters", "gflops", "train_seconds", "peak_memory_gib")


def arms_of(results: Results) -> list[str]:
    """The definition's arms in its order, then those that only runs have."""
    return list(dict.fromkeys([*results.definition.arms, *results.runs["arm"]]))


def finished_values(results: Results, arm: str, metric: str) -> list[float]:
    """A final metric of an arm's finished runs; empty where no run has it."""
    runs = results.runs
    if metric not in runs:
        return []
    chosen = runs.loc[(runs["arm"] == arm) & (runs["state"] == FINISHED), metric]
    return [float(value) for value in chosen.dropna()]


def arms_table(material: Material) -> Table:
    """Each arm: what differs, what it costs, how many of its runs finished."""
    results = material.results
    minutes, seconds = time_column(results)
    columns = (
        Column("arm"),
        Column("differs in"),
        Column("parameters", True),
        Column("GFLOPs", True),
        Column(f"training, {minutes}", True),
        Column("memory, GiB", True),
        Column("runs", True),
    )
    rows = []
    for arm in arms_of(results):
        times = [value / seconds for value in finished_values(results, arm, "train_seconds")]
        rows.append(
            (
                flat(arm),
                describe_settings(results.definition, arm),
                same_or_mean(finished_values(results, arm, "parameters"), 0),
                same_or_mean(finished_values(results, arm, "gflops"), 2),
                mean_and_spread(times, 1 if seconds > 1 else 0),
                mean_and_spread(finished_values(results, arm, "peak_memory_gib"), 2),
                count_runs(results.runs, arm),
            )
        )
    caption = (
        "What was compared. GFLOPs: one image forward, a multiplication and its addition counted as two. Training time "
        "and peak memory: mean ± standard deviation over seeds. Runs: finished of those declared or begun."
    )
    return Table(f"{material.stem}_arms", caption, columns, tuple(rows))


def time_column(results: Results) -> tuple[str, float]:
    """The unit for training times, one for all arms, and its seconds."""
    return duration_unit(
        [value for arm in arms_of(results) for value in finished_values(results, arm, "train_seconds")]
    )


def describe_settings(definition: Definition, arm: str) -> str:
    """`optimizer.name = sgd, optimizer.momentum = 0.9`; says so where the definition no longer has the arm."""
    if arm not in definition.arms:
        return "no longer in the definition"
    settings = definition.arms[arm].items()
    return ", ".join(f"{flat(key)} = {setting(value)}" for key, value in settings) or NONE


def same_or_mean(values: Sequence[float], digits: int) -> str:
    """What all runs of an arm share, such as its parameters; mean and spread where they do not."""
    return number(values[0], digits) if len(set(values)) == 1 else mean_and_spread(values, digits)


def count_runs(runs: pd.DataFrame, arm: str) -> str:
    """`2 of 3`."""
    of_arm = runs[runs["arm"] == arm]
    return f"{int((of_arm['state'] == FINISHED).sum())} of {len(of_arm)}"


def results_table(material: Material) -> Table:
    """Final metrics by arm, mean ± standard deviation over seeds: the usual ones and those that claims are about."""
    results = material.results
    labels = dict(SHOWN)
    for hypothesis in results.definition.hypotheses:
        if hypothesis.metric not in labels and hypothesis.metric not in COSTS:
            labels[hypothesis.metric] = column_label(hypothesis.metric)
    columns = (Column("arm"), *(Column(label, True) for label in labels.values()))
    rows = [
        (flat(arm), *(mean_and_spread(finished_values(results, arm, key), digits(key)) for key in labels))
        for arm in arms_of(results)
    ]
    caption = (
        "Test results, mean ± standard deviation over finished seeds. Dice and IoU: mean over images at the run's own "
        "threshold; dataset: of all pixels together; batch Dice at 0.4: the measure of the original report."
    )
    trivial = trivial_row(material, labels, PRIMARY, digits(PRIMARY))
    if trivial is not None:
        rows.append(trivial)
        caption += " Every pixel pet: what a prediction reaches that looks at no image."
    return Table(f"{material.stem}_results", caption, columns, tuple(rows))


def column_label(metric: str) -> str:
    """A metric's label, the unit included."""
    return METRICS[metric].label if metric in METRICS else flat(metric)


def digits(metric: str) -> int:
    """Digits of a metric's values."""
    return 2 if metric == "threshold" else metric_of(metric).value_digits


def seeds_table(material: Material) -> Table:
    """The primary metric of every run, arms by seeds; the state of those that did not finish."""
    results = material.results
    seeds = sorted({int(seed) for seed in results.runs["seed"]})
    shown = {
        (arm, int(seed)): show_run(str(state), float(value))
        for arm, seed, state, value in results.runs[["arm", "seed", "state", PRIMARY]].itertuples(index=False)
    }
    rows = tuple((flat(arm), *(shown.get((arm, seed), NONE) for seed in seeds)) for arm in arms_of(results))
    caption = "Test per-image Dice of every run, or what became of it."
    columns = (Column("arm"), *(Column(f"seed {seed}", True) for seed in seeds))
    return Table(f"{material.stem}_seeds", caption, columns, rows)


def show_run(state: str, value: float) -> str:
    """A finished run's Dice, else its state."""
    return number(value, METRICS[PRIMARY].value_digits) if state == FINISHED else state
