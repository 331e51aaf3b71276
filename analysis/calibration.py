"""Do the verdicts keep their promises?  Simulated ablations with known truth: `python -m analysis.calibration`.

Prints tables of false verdicts, coverage and power; `--output docs/statistics.md` writes them between the markers of
that file.  Exit status 1 where a promise is broken, with a sentence for each.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product, repeat
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.calibration_tables import broken_promises, markdown
from analysis.definition import Definition, Hypothesis
from analysis.simulation import KINDS, Kind, draw_claims, draw_differences, is_false
from analysis.statistics import SHOWN_LEVEL, Array
from analysis.verdicts import judge

SEEDS = range(2, 11)
HYPOTHESES = range(1, 7)
TRUTHS = ("margin", "zero", "anywhere")
BOOTSTRAP_SEEDS = (2, 3, 5, 10)
NUM_IMAGES, NUM_RESAMPLES, MOST_BOOTSTRAPS = 100, 500, 1000
# The part of images, and of seeds and images together, for a seed's part of 1.  As 3,669 real images give it in
# docs/results/lr_sweep-pets64.md, for 100; and so little that seeds alone count.
LIKE_REAL_IMAGES, ONLY_SEEDS_MATTER = 12.0, 1.0
LEAST_ABLATIONS = 200
BEGIN, END = "<!-- calibration: begin -->", "<!-- calibration: end -->"


@dataclass(frozen=True)
class Setting:
    """What is simulated at once.  kind: position in KINDS.  seed: of the simulation."""

    kind: int
    num_seeds: int
    num_hypotheses: int
    num_ablations: int
    seed: int


def simulate(setting: Setting) -> dict[str, float]:
    """The figures of one setting, as fractions: false verdicts an ablation, coverage, power."""
    kind, num_seeds = KINDS[setting.kind], setting.num_seeds
    generator = np.random.default_rng([setting.seed, setting.kind, num_seeds, setting.num_hypotheses])
    shape = (setting.num_ablations, setting.num_hypotheses)
    level = statistics.verdict_level(setting.num_hypotheses)
    figures: dict[str, float] = {"kind": setting.kind, "seeds": num_seeds, "hypotheses": setting.num_hypotheses}
    covered = []
    for where in TRUTHS:
        claims = draw_claims(where, kind.spread / num_seeds**0.5, shape, generator)
        differences = draw_differences(kind, claims.truth, num_seeds, generator)
        low, high = statistics.paired_interval(differences, level, kind.least_spread)
        verdicts = statistics.decide(low, high, claims.margin, claims.same)
        figures[f"false, truth at {where}"] = float(is_false(verdicts, claims).any(axis=1).mean())
        low, high = statistics.paired_interval(differences, SHOWN_LEVEL, kind.least_spread)
        covered.append(((low <= claims.truth) & (claims.truth <= high)).mean())
    return figures | {"coverage": float(np.mean(covered))} | simulate_plans(kind, num_seeds, level, shape, generator)


def simulate_plans(
    kind: Kind, num_seeds: int, level: float, shape: tuple[int, int], generator: np.random.Generator
) -> dict[str, float]:
    """How often what was planned is shown if the spread is known, and ranges of seeds hold the true number."""
    margin = kind.spread
    truth = np.full(shape, statistics.smallest_difference(kind.spread, num_seeds, margin, level))
    differences = draw_differences(kind, truth, num_seeds, generator)
    shown = statistics.decide(*statistics.paired_interval(differences, level, kind.least_spread), margin)

    enough = int(generator.integers(num_seeds + 1, 4 * num_seeds + 1))
    goal = float(statistics.half_width(kind.spread, enough, level))
    _, spreads = statistics.mean_and_spread(differences, kind.least_spread)
    fewest, most = statistics.settling_range(spreads, num_seeds, goal, level)

    margin = 1.2 * float(statistics.half_width(kind.spread, num_seeds, level))
    alike = draw_differences(kind, np.zeros(shape), num_seeds, generator)
    equated = statistics.decide(*statistics.paired_interval(alike, level, kind.least_spread), margin)
    planned = statistics.power_to_equate(0.0, kind.spread, num_seeds, margin, level)
    return {
        "power": float((shown == "supported").mean()),
        "equality": float((equated == "equivalent").mean()) - planned,
        "range": float(((fewest <= enough) & (enough <= most)).mean()),
    }


def simulate_images(num_seeds: int, image_spread: float, num_repeats: int, seed: int) -> tuple[float, float]:
    """How often the bootstraps hold the truth: over images that of these seeds, and over both that of all seeds.

    A difference is what the seed does (standard deviation 1), plus what the image does, plus noise of both, each with
    the standard deviation image_spread.
    """
    generator = np.random.default_rng([seed, num_seeds, int(image_spread)])
    held = np.zeros((num_repeats, 2))
    for number in range(num_repeats):
        of_seeds = generator.standard_normal((num_seeds, 1))
        of_images = image_spread * generator.standard_normal((1, NUM_IMAGES))
        differences = of_seeds + of_images + image_spread * generator.standard_normal((num_seeds, NUM_IMAGES))
        images = statistics.bootstrap_over_images(differences, SHOWN_LEVEL, generator, NUM_RESAMPLES)
        both = statistics.bootstrap_over_seeds_and_images(differences, SHOWN_LEVEL, generator, NUM_RESAMPLES)
        held[number] = images[0] <= of_seeds.mean() <= images[1], both[0] <= 0 <= both[1]
    return float(held[:, 0].mean()), float(held[:, 1].mean())


def disagreements(num_ablations: int, seed: int) -> int:
    """In how many simulated ablations judge() does not give the verdicts and intervals of the vectorised functions."""
    generator = np.random.default_rng(seed)
    wrong = 0
    for _ in range(num_ablations):
        num_seeds, num_hypotheses = int(generator.integers(2, 11)), int(generator.integers(1, 7))
        claims = draw_claims("anywhere", 1.0, (1, num_hypotheses), generator)
        differences = draw_differences(KINDS[0], claims.truth, num_seeds, generator)[0]
        interval = statistics.paired_interval(differences, statistics.verdict_level(num_hypotheses))
        expected = statistics.decide(*interval, claims.margin[0], claims.same[0])
        verdicts = judge(*as_ablation(differences, claims.margin[0], claims.same[0]))
        same_words = [verdict.verdict for verdict in verdicts] == list(expected)
        found = np.array([verdict.verdict_interval for verdict in verdicts])
        wrong += not (same_words and np.allclose(found.T, interval, rtol=1e-9, atol=1e-9))
    return wrong


def as_ablation(differences_KS: Array, margins: Array, same: Sequence[bool]) -> tuple[Definition, pd.DataFrame]:
    """A definition and its runs, in which arm 0 is better than arm k by these differences."""
    arms = [f"arm {number}" for number in range(len(margins) + 1)]
    hypotheses = tuple(
        Hypothesis("simulated", arms[0], arm, "images_per_second", float(margin), same=bool(is_same))
        for arm, margin, is_same in zip(arms[1:], margins, same, strict=True)
    )
    values = np.vstack([np.zeros(differences_KS.shape[1]), -differences_KS])
    rows = [
        {"arm": arm, "seed": seed, "state": "finished", "images_per_second": values[number, seed]}
        for (number, arm), seed in product(enumerate(arms), range(values.shape[1]))
    ]
    seeds = tuple(range(values.shape[1]))
    definition = Definition("simulated", "Simulated", "", ("factor",), {arm: {} for arm in arms}, seeds, hypotheses)
    return definition, pd.DataFrame(rows)


def calibrate(num_ablations: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Figures of all settings, and those of the bootstraps; on all cores, the same whatever their number."""
    settings = [
        Setting(kind, num_seeds, num_hypotheses, num_ablations, seed)
        for kind, num_seeds, num_hypotheses in product(range(len(KINDS)), SEEDS, HYPOTHESES)
    ]
    cases = list(product(BOOTSTRAP_SEEDS, (LIKE_REAL_IMAGES, ONLY_SEEDS_MATTER)))
    num_repeats = min(num_ablations, MOST_BOOTSTRAPS)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        held = pool.map(simulate_images, *zip(*cases, strict=True), repeat(num_repeats), repeat(seed))
        figures = pd.DataFrame(pool.map(simulate, settings, chunksize=6))
        rows = [(*case, *result) for case, result in zip(cases, held, strict=True)]
    return figures, pd.DataFrame(rows, columns=["seeds", "image_spread", "images", "both"])


def write_between_markers(path: Path, text: str) -> None:
    """Replace what stands between the markers of a file.  Raises ValueError where it has none."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no lines {BEGIN} and {END} to write between")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 where a promise is broken, 2 where the request is wrong."""
    parser = argparse.ArgumentParser(
        description="Simulated ablations with known truth: false verdicts, coverage, power."
    )
    parser.add_argument("--ablations", type=int, default=5_000, help="simulated for each setting (5,000)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation (0)")
    parser.add_argument("--output", type=Path, help="a Markdown file with markers, such as docs/statistics.md")
    request = parser.parse_args(arguments)
    if request.ablations < LEAST_ABLATIONS or request.seed < 0:
        parser.error(f"--ablations is {LEAST_ABLATIONS} or more, --seed 0 or more")
    start = time.monotonic()
    figures, images = calibrate(request.ablations, request.seed)
    wrong = disagreements(200, request.seed)
    command = f"python -m analysis.calibration --ablations {request.ablations} --seed {request.seed}"
    text = markdown(figures, images, command, request.ablations, time.monotonic() - start)
    print(text)
    problems = broken_promises(figures, request.ablations)
    problems += [f"judge() and the vectorised functions differ in {wrong} of 200 ablations"] if wrong else []
    print("\n".join(problems) or "All promises are kept.", file=sys.stderr)
    try:
        if request.output:
            write_between_markers(request.output, text)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
