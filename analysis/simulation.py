"""Simulated ablations of which the truth is known, for analysis.calibration.

An ablation has one arm that each hypothesis compares with another, so that they share its noise.  A value is the arm's
true mean, plus what the seed does to all arms, plus noise of arm and seed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis import statistics
from analysis.statistics import Array

SEED_EFFECT = 2.0  # standard deviation of what a seed does to all arms
STEP = 2.0  # of the values that are whole numbers: half of it is the noise's standard deviation
WHOLE_SPREAD = (2 + statistics.rounding_spread(STEP) ** 2) ** 0.5
Noise = Callable[[np.random.Generator, tuple[int, ...]], Array]


@dataclass(frozen=True)
class Kind:
    """A kind of noise.  first, others: of the shared arm and of all others, with mean 0.  spread: of a difference.

    step: to which values are rounded.  least_spread: that the verdicts believe.
    """

    name: str
    first: Noise
    others: Noise
    spread: float = 2**0.5
    step: float = 0.0
    least_spread: float = 0.0


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal noise."""
    return generator.standard_normal(shape)


def wide(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal noise, three times as wide."""
    return generator.normal(0, 3, shape)


def exponential(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Skewed noise: exponential, with mean 0 and variance 1."""
    return np.asarray(generator.standard_exponential(shape) - 1)


def lognormal(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Very skewed noise: lognormal with sigma 1, with mean 0 and variance 1."""
    return np.asarray((generator.lognormal(0, 1, shape) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e))


def heavy(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Noise with outliers: Student's t with 3 degrees of freedom, with variance 1."""
    return np.asarray(generator.standard_t(3, shape) / np.sqrt(3))


def collapsing(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal noise, but for one run in ten, which falls short by ten standard deviations; mean 0, variance 10."""
    return np.asarray(generator.standard_normal(shape) + 1 - 10 * (generator.random(shape) < 0.1))


KINDS = (
    Kind("normal", normal, normal),
    Kind("normal, one arm 3 times as noisy", wide, normal, 10**0.5),
    Kind("exponential in both arms", exponential, exponential),
    Kind("exponential in one arm", exponential, normal),
    Kind("lognormal in one arm", lognormal, normal),
    Kind("heavy tails (t, 3 degrees)", heavy, heavy),
    Kind("one run in ten of one arm collapses", collapsing, normal, 11**0.5),
    Kind("whole numbers", normal, normal, WHOLE_SPREAD, STEP, statistics.rounding_spread(STEP)),
    Kind("whole numbers, their spread taken as it is", normal, normal, WHOLE_SPREAD, STEP),
)
BOUNDED = KINDS[:2]  # differences are normal: what the calibration promises


def draw_differences(kind: Kind, truth_NK: Array, num_seeds: int, generator: np.random.Generator) -> Array:
    """Paired differences of simulated ablations, (ablations, hypotheses, seeds), with these true advantages."""
    num_ablations, num_hypotheses = truth_NK.shape
    seeds_N1S = SEED_EFFECT * generator.standard_normal((num_ablations, 1, num_seeds))
    first_N1S = seeds_N1S + kind.first(generator, (num_ablations, 1, num_seeds))
    others_NKS = seeds_N1S + kind.others(generator, (num_ablations, num_hypotheses, num_seeds)) - truth_NK[:, :, None]
    if kind.step:
        first_N1S, others_NKS = (kind.step * np.round(values / kind.step) for values in (first_N1S, others_NKS))
    return np.asarray(first_N1S - others_NKS)


@dataclass(frozen=True)
class Claims:
    """Hypotheses of many ablations, (ablations, hypotheses) each: true advantages, margins, claims of equality."""

    truth: Array
    margin: Array
    same: NDArray[np.bool_]


def draw_claims(where: str, error: float, shape: tuple[int, int], generator: np.random.Generator) -> Claims:
    """Claims whose truth lies on the margin, at 0, or anywhere; margins of 1 to 300 standard errors of a difference."""
    margin = error * np.exp(generator.uniform(0, np.log(300), shape))
    truth = {
        "margin": margin * generator.choice([-1, 1], shape),
        "zero": np.zeros(shape),
        "anywhere": margin * generator.standard_normal(shape),
    }[where]
    return Claims(truth, margin, generator.random(shape) < 0.5)


def is_false(verdicts: NDArray[np.str_], claims: Claims) -> NDArray[np.bool_]:
    """Whether a verdict says what is not so; on the margin itself neither "above" nor "within" is."""
    size = np.abs(claims.truth)
    is_supported, is_reversed = verdicts == "supported", verdicts == "reversed"
    says_within = (verdicts == "equivalent") | (is_supported & claims.same)
    says_apart = is_reversed & claims.same
    return np.asarray(
        (says_within & (size >= claims.margin))
        | (says_apart & (size <= claims.margin))
        | (is_supported & ~claims.same & (claims.truth <= claims.margin))
        | (is_reversed & ~claims.same & (claims.truth >= -claims.margin))
    )
