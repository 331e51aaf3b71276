"""The calibration's figures as tables, and whether they keep what is promised."""

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.simulation import BOUNDED, KINDS
from analysis.statistics import ALPHA, POWER, SETTLING_COVERAGE, SHOWN_LEVEL

COVERAGE_TOLERANCE, POWER_TOLERANCE = 0.015, 0.05
BOUNDS = (
    ("coverage", SHOWN_LEVEL, COVERAGE_TOLERANCE),
    ("power", POWER, POWER_TOLERANCE),
    ("equality", 0.0, POWER_TOLERANCE),
)
WORST = "false, truth at margin"


def broken_promises(figures: pd.DataFrame, num_ablations: int) -> list[str]:
    """A sentence for each bound that normal noise breaks."""
    normal = figures[figures["kind"].isin([KINDS.index(kind) for kind in BOUNDED])]
    return [*false_too_often(normal, num_ablations), *off_plan(normal)]


def false_too_often(normal: pd.DataFrame, num_ablations: int) -> Iterator[str]:
    """Where more than 5 % of ablations have a false verdict.

    Plus two simulation errors by number of seeds, and by number of hypotheses; plus four in each single setting, for of
    so many some are two off by chance.
    """
    ways = ((["kind", "seeds"], 2), (["kind", "hypotheses"], 2), (["kind", "seeds", "hypotheses"], 4))
    for column in normal.columns[normal.columns.str.startswith("false")]:
        for by, errors in ways:
            for key, rates in normal.groupby(by)[column]:
                most = ALPHA + errors * (ALPHA * (1 - ALPHA) / (num_ablations * len(rates))) ** 0.5
                if rates.mean() > most:
                    where = ", ".join(f"{number} {name}" for name, number in zip(by[1:], key[1:], strict=True))
                    rate = f"{percent(rates.mean(), 2)} % of ablations, more than {percent(most, 2)} %"
                    yield f"{KINDS[int(str(key[0]))].name}, {where}: {column}: false verdicts in {rate}"


def off_plan(normal: pd.DataFrame) -> Iterator[str]:
    """Where coverage is more than 1.5 points off 95 %, or power more than 5 points off what was planned."""
    for (kind, seeds), rows in normal.groupby(["kind", "seeds"]):
        for column, aim, tolerance in BOUNDS:
            error = float(rows[column].mean()) - aim
            if abs(error) > tolerance:
                name = KINDS[int(str(kind))].name
                yield f"{name}, {seeds} seeds: {column} is {percent(error)} points off what is promised"


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction in percent, as a bare number."""
    text = f"{100 * fraction:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def table(corner: str, rows: Sequence[tuple[str, Sequence[float]]], columns: Sequence[object]) -> str:
    """A Markdown table of fractions in percent."""
    lines = [[corner, *map(str, columns)], ["---", *("---:" for _ in columns)]]
    lines += [[name, *(percent(value) for value in values)] for name, values in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def by_noise(figures: pd.DataFrame, column: str) -> str:
    """One figure by noise (rows) and number of seeds (columns), over all numbers of hypotheses."""
    wide = figures.pivot_table(index="kind", columns="seeds", values=column, aggfunc="mean")
    rows = [(KINDS[int(kind)].name, list(values)) for kind, values in zip(wide.index, wide.to_numpy(), strict=True)]
    return table("noise \\ seeds", rows, [int(seeds) for seeds in wide.columns])


def by_hypotheses(figures: pd.DataFrame) -> str:
    """False verdicts with normal noise by number of hypotheses and of seeds."""
    wide = figures[figures["kind"] == 0].pivot_table(index="hypotheses", columns="seeds", values=WORST)
    rows = [(str(int(number)), list(values)) for number, values in zip(wide.index, wide.to_numpy(), strict=True)]
    return table("hypotheses \\ seeds", rows, [int(seeds) for seeds in wide.columns])


def by_truth(figures: pd.DataFrame) -> str:
    """False verdicts with normal noise by where the truth lies."""
    names = {"margin": "on the margin", "zero": "no difference", "anywhere": "anywhere"}
    wide = figures[figures["kind"] == 0].groupby("seeds").mean()
    rows = [(name, list(wide[f"false, truth at {where}"])) for where, name in names.items()]
    return table("truth \\ seeds", rows, [int(seeds) for seeds in wide.index])


def by_bootstrap(images: pd.DataFrame) -> str:
    """Coverage of the bootstraps by number of seeds."""
    most, least = (images[images["image_spread"] == spread] for spread in sorted(set(images["image_spread"]))[::-1])
    rows = [
        ("over images alone, these seeds", list(most["images"])),
        ("over seeds and images, as noisy as real ones", list(most["both"])),
        ("over seeds and images, where seeds alone matter", list(least["both"])),
    ]
    return table("95 % interval \\ seeds", rows, list(most["seeds"]))


def markdown(figures: pd.DataFrame, images: pd.DataFrame, command: str, num_ablations: int, seconds: float) -> str:
    """All tables, with what each one shows."""
    coverage = [percent(SHOWN_LEVEL + sign * COVERAGE_TOLERANCE) for sign in (-1, 1)]
    power = [percent(POWER + sign * POWER_TOLERANCE, 0) for sign in (-1, 1)]
    parts = [
        f"`{command}`: {len(figures)} settings of {num_ablations:,} ablations each with truths of three kinds, "
        f"{seconds:.0f} s. All figures are percentages.",
        "**False verdicts**: ablations with at least one, where every true difference is just its margin. Bound: 5.",
        by_noise(figures, WORST),
        "The same with normal noise, by number of hypotheses.",
        by_hypotheses(figures),
        "The same with normal noise, by what the true differences are.",
        by_truth(figures),
        f"**Coverage**: 95 % intervals that hold the true difference. Bounds: {coverage[0]} and {coverage[1]}.",
        by_noise(figures, "coverage"),
        "**Power**: claims that are supported where the true difference is the smallest that planning says is shown in "
        f"{percent(POWER, 0)} % of cases. Bounds: {power[0]} and {power[1]}.",
        by_noise(figures, "power"),
        "**Power of equality**: arms without a difference that are found equivalent, less the percentage that planning "
        f"says. Bounds: {percent(-POWER_TOLERANCE, 0)} and {percent(POWER_TOLERANCE, 0)}.",
        by_noise(figures, "equality"),
        f"**Seeds needed**: ranges that hold the true number. Aim: {percent(SETTLING_COVERAGE, 0)}, and a little more "
        "since seeds are whole numbers.",
        by_noise(figures, "range"),
        "**Bootstraps**: 95 % intervals that hold the true difference, with normal noise.",
        by_bootstrap(images),
    ]
    return "\n\n".join(parts)
