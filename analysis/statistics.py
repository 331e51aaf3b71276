"""Intervals, verdicts, power and seeds needed: arrays in, numbers out.  docs/statistics.md says what each one assumes.

`differences` say by how much the first arm is better than the second, one for each seed that both have: positive in
the claim's direction.  For a ratio they are differences of logarithms, and the margin is log(1 + m).  Functions of
arrays work over any leading axes; seeds are the last one.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, stats
from statsmodels.stats.power import TTestPower

Array = NDArray[np.float64]

ALPHA = 0.05  # chance of a false verdict in a whole ablation
SHOWN_LEVEL = 0.95  # of the interval that is printed
LEAST_CORRELATED = 4  # below, a correlation has no interval
POWER = 0.8  # chance of a verdict that planning asks for
SETTLING_COVERAGE = 0.5  # how sure the range of seeds is: the true number is in it as often as not
MAX_SEEDS = 1000  # seeds are counted up to here; MAX_SEEDS + 1 stands for "more"
EXACT_FLIPS = 2**16  # sign flips are enumerated up to 16 seeds, and drawn at random above
NUM_RESAMPLES = 2000  # of a bootstrap


def verdict_level(num_hypotheses: int) -> float:
    """Level of the interval that decides one of `num_hypotheses` claims, 1 - 0.05 / k (Bonferroni, after Dunn 1961).

    A verdict is false only where its interval misses the truth, so all k are right with probability 0.95 at least,
    however the claims depend on each other.
    """
    return 1 - ALPHA / max(num_hypotheses, 1)


def mean_and_spread(differences: Array, least_spread: float = 0.0) -> tuple[Array, Array]:
    """Mean and standard deviation (n - 1) over the last axis; equal differences have a spread of exactly 0.

    least_spread: what the spread is taken to be at least, for differences of rounded values (see rounding_spread).
    """
    equal = np.ptp(differences, axis=-1) == 0
    mean = np.where(equal, differences[..., 0], differences.mean(axis=-1))
    spread = np.where(equal, 0.0, differences.std(axis=-1, ddof=1))
    return mean, np.maximum(spread, least_spread)


def rounding_spread(step: float) -> float:
    """The standard deviation that rounding alone gives a difference of two values in steps: step / sqrt(6).

    Each is off by up to half a step either way, with a variance of step^2 / 12.  Without it the interval of three equal
    whole numbers would have no width, as if there were no doubt.
    """
    return step / 6**0.5


def half_width(spread: ArrayLike, num_seeds: ArrayLike, level: float) -> Array:
    """Half the width of the t interval of a mean: t(n - 1) * spread / sqrt(n).  num_seeds: 2 or more."""
    num_seeds = np.asarray(num_seeds)
    return np.asarray(stats.t.isf((1 - level) / 2, num_seeds - 1) * np.asarray(spread) / np.sqrt(num_seeds))


def paired_interval(differences: Array, level: float, least_spread: float = 0.0) -> tuple[Array, Array]:
    """Student's t interval of the mean difference: (low, high) over the leading axes.

    Raises ValueError where there are fewer than two seeds.
    """
    num_seeds = differences.shape[-1]
    if num_seeds < 2:
        raise ValueError("an interval needs two seeds at least")
    mean, spread = mean_and_spread(differences, least_spread)
    half = half_width(spread, num_seeds, level)
    return mean - half, mean + half


def decide(low: ArrayLike, high: ArrayLike, margin: ArrayLike, same: ArrayLike = False) -> NDArray[np.str_]:
    """What an interval says of a claim: "supported", "reversed", "equivalent" or "inconclusive".

    Wholly above the margin, wholly below minus the margin, wholly within (a difference of exactly the margin is
    within it), or none of these.  A claim that both are the `same` is supported within, and reversed above and below.
    """
    low, high, margin, same = (np.asarray(value) for value in (low, high, margin, same))
    within = (low >= -margin) & (high <= margin)
    above, below = low > margin, high < -margin
    chosen = np.select(
        [within & same, within, above & ~same, above | below],
        ["supported", "equivalent", "supported", "reversed"],
        "inconclusive",
    )
    return np.asarray(chosen)


def seeds_for(spread: ArrayLike, margin: ArrayLike, level: float) -> NDArray[np.int64]:
    """The fewest seeds, from 2, at which the half-width is no more than the margin; MAX_SEEDS + 1 stands for more.

    margin: above 0.
    """
    widths = half_width(1.0, np.arange(2, MAX_SEEDS + 1), level)  # falls with every seed
    ratio = np.asarray(margin) / np.maximum(spread, 1e-9 * np.asarray(margin))
    return np.asarray(2 + len(widths) - np.searchsorted(widths[::-1], ratio, side="right"))


def settling_range(
    spread: ArrayLike, num_seeds_seen: int, margin: float, level: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """At how many seeds the half-width reaches the margin: fewest and most, since the spread of few seeds is uncertain.

    From the chi-square interval of the spread with a coverage of SETTLING_COVERAGE.  margin: above 0.
    """
    freedom = num_seeds_seen - 1
    smallest, largest = (
        np.sqrt(freedom / stats.chi2.ppf((1 + sign * SETTLING_COVERAGE) / 2, freedom)) for sign in (1, -1)
    )
    spread = np.asarray(spread)
    return seeds_for(smallest * spread, margin, level), seeds_for(largest * spread, margin, level)


def seeds_to_settle(spread: float, num_seeds_seen: int, margin: float, level: float) -> tuple[int, int] | None:
    """The settling range of one spread; None without a margin, and for one seed."""
    if margin <= 0 or num_seeds_seen < 2:
        return None
    low, high = settling_range(spread, num_seeds_seen, margin, level)
    return int(low), int(high)


def seeds_still_needed(
    differences: Array, margin: float, level: float, least_spread: float = 0.0
) -> tuple[int, int] | None:
    """How many seeds would settle a claim that these leave open, always more than these; None where none can be named.

    Where the half-width is above the margin: at how many it reaches it.  Where it is below already, or there is no
    margin, the difference lies too near to it: at how many the half-width reaches the distance between the two.
    """
    mean, spread = mean_and_spread(differences, least_spread)
    resolved = margin == 0 or half_width(spread, len(differences), level) <= margin
    goal = abs(abs(float(mean)) - margin) if resolved else margin
    return more_seeds(differences, goal, level, least_spread)


def more_seeds(differences: Array, goal: float, level: float, least_spread: float = 0.0) -> tuple[int, int] | None:
    """The range of seeds, all above the number of these, at which the half-width reaches a goal."""
    _, spread = mean_and_spread(differences, least_spread)
    found = seeds_to_settle(float(spread), len(differences), goal, level)
    return found and (max(found[0], len(differences) + 1), max(found[1], len(differences) + 1))


def power_to_support(difference: float, spread: float, num_seeds: int, margin: float, level: float) -> float:
    """Chance that the interval lies wholly above the margin when the true difference and its spread are these."""
    effect = (difference - margin) / spread
    return float(TTestPower().power(effect, num_seeds, (1 - level) / 2, alternative="larger"))


def smallest_difference(spread: float, num_seeds: int, margin: float, level: float, power: float = POWER) -> float:
    """The smallest true difference that is shown to exceed the margin with this power."""
    effect = TTestPower().solve_power(
        nobs=num_seeds, alpha=(1 - level) / 2, power=power, alternative="larger", effect_size=None
    )
    return margin + float(np.squeeze(effect)) * spread


def power_to_equate(difference: float, spread: float, num_seeds: int, margin: float, level: float) -> float:
    """Chance that the interval lies wholly within the margin when the true difference and its spread are these.

    The power of two one-sided t tests (Schuirmann 1987): an integral over the spread that the seeds happen to show, a
    chi variable with n - 1 degrees of freedom.
    """
    freedom, error = num_seeds - 1, spread / np.sqrt(num_seeds)
    critical = stats.t.isf((1 - level) / 2, freedom)

    def within(chi: float) -> float:
        """Chance that the mean is near enough to 0 for this spread, times the density of the spread."""
        room = margin - critical * error * chi / np.sqrt(freedom)
        chance = stats.norm.cdf((room - difference) / error) - stats.norm.cdf((-room - difference) / error)
        return float(chance * stats.chi.pdf(chi, freedom))

    widest = margin * np.sqrt(freedom) / (critical * error)
    return float(integrate.quad(within, 0, min(widest, np.sqrt(freedom) + 10), limit=200)[0])


def sign_flip_p(differences: Array) -> float:
    """p of the exact sign-flip test, two-sided: how often a mean as far from 0 arises when each sign is a coin's toss.

    It presumes no shape of the noise, only that plus and minus are alike where there is no difference.  With n seeds it
    is never below 2 / 2^n: 0.25 with 3 seeds, and below 0.05 from 6 on.  Above 16 seeds flips are drawn at random.
    """
    result = stats.permutation_test(
        (np.asarray(differences),),
        lambda sample, axis: np.mean(sample, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=EXACT_FLIPS,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def draw_weights(num_items: int, num_resamples: int, generator: np.random.Generator) -> Array:
    """The weight of each item in resamples with replacement, (num_resamples, num_items): each row sums to 1."""
    drawn = generator.integers(num_items, size=(num_resamples, num_items))
    drawn += num_items * np.arange(num_resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=num_resamples * num_items)
    return counts.reshape(num_resamples, num_items) / num_items


def percentiles(means: Array, level: float) -> tuple[float, float]:
    """The middle part of resampled means, as a percentile interval."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_over_images(
    differences_SI: Array, level: float, generator: np.random.Generator, num_resamples: int = NUM_RESAMPLES
) -> tuple[float, float]:
    """Percentile interval of the mean difference over test images, with these seeds as they are.

    differences_SI: of each seed and image.  An image is drawn with all its seeds: every network is tested on the same
    images.
    """
    of_images = differences_SI.mean(axis=0)
    return percentiles(draw_weights(len(of_images), num_resamples, generator) @ of_images, level)


def bootstrap_over_seeds_and_images(
    differences_SI: Array, level: float, generator: np.random.Generator, num_resamples: int = NUM_RESAMPLES
) -> tuple[float, float]:
    """Percentile interval of the mean difference over seeds and test images together.

    Seeds and images are drawn independently of each other (the pigeonhole bootstrap, Owen 2007): all seeds meet the
    same test images, so what an image does to the difference it does for all of them, and drawing images anew for each
    seed would average that away.  Few seeds make it too narrow (docs/statistics.md says how much): it decides nothing.
    """
    num_seeds, num_images = differences_SI.shape
    seeds_RS = draw_weights(num_seeds, num_resamples, generator)
    images_RI = draw_weights(num_images, num_resamples, generator)
    return percentiles(((images_RI @ differences_SI.T) * seeds_RS).sum(axis=1), level)
