import itertools
import math
import time

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from analysis import statistics
from analysis.statistics import (
    bootstrap_over_images,
    bootstrap_over_seeds_and_images,
    decide,
    half_width,
    mean_and_spread,
    paired_interval,
    power_to_equate,
    power_to_support,
    rounding_spread,
    seeds_for,
    seeds_still_needed,
    seeds_to_settle,
    sign_flip_p,
    smallest_difference,
    verdict_level,
)


@pytest.fixture
def generator():
    return np.random.default_rng(7)


def test_an_interval_by_hand():
    # Mean 2, standard deviation 1, and t of 2 degrees of freedom at 97.5 % is 4.3027.
    low, high = paired_interval(np.array([1.0, 2.0, 3.0]), 0.95)
    assert (low, high) == pytest.approx((2 - 4.30265 / math.sqrt(3), 2 + 4.30265 / math.sqrt(3)), abs=1e-4)


@pytest.mark.parametrize("level", [0.95, 1 - 0.05 / 6])
@pytest.mark.parametrize("num_seeds", [2, 3, 10])
def test_intervals_are_those_of_scipys_paired_t_test(generator, num_seeds, level):
    first, second = generator.normal(size=(2, 4, num_seeds))
    expected = stats.ttest_rel(first, second, axis=1).confidence_interval(level)
    low, high = paired_interval(first - second, level)
    assert low == pytest.approx(expected.low) and high == pytest.approx(expected.high)


def test_equal_differences_give_an_interval_of_no_width():
    low, high = paired_interval(np.array([[0.1, 0.1, 0.1], [5.0, 5.0, 5.0]]), 0.95)
    assert list(low) == list(high) == [0.1, 5.0]


def test_one_seed_has_no_interval():
    with pytest.raises(ValueError, match="two seeds"):
        paired_interval(np.array([1.0]), 0.95)


def test_rounded_values_have_the_spread_of_rounding_at_least(generator):
    exact = generator.uniform(0, 100, (2, 200_000))
    errors = exact - np.round(exact)
    assert (errors[0] - errors[1]).std() == pytest.approx(rounding_spread(1.0), rel=0.01)
    assert mean_and_spread(np.array([2.0, 2.0, 2.0]), rounding_spread(1.0))[1] == pytest.approx(0.408, abs=1e-3)
    assert mean_and_spread(np.array([0.0, 2.0, 4.0]), rounding_spread(1.0))[1] == 2


def test_the_verdicts_of_the_design():
    low = [0.6, -0.9, -0.3, -0.1, 0.4, -0.6]
    high = [0.9, -0.6, 0.4, 0.9, 0.6, 0.6]
    expected = ["supported", "reversed", "equivalent", "inconclusive", "inconclusive", "inconclusive"]
    assert list(decide(low, high, 0.5)) == expected


def test_the_verdicts_of_a_claim_of_equality():
    low, high = [0.6, -0.9, -0.3, 0.4], [0.9, -0.6, 0.4, 0.6]
    assert list(decide(low, high, 0.5, same=True)) == ["reversed", "reversed", "supported", "inconclusive"]


def test_a_difference_of_exactly_the_margin_is_within_it():
    assert str(decide(1.0, 1.0, 1.0)) == "equivalent"
    assert str(decide(1.0, 2.0, 1.0)) == "inconclusive"
    assert str(decide(0.0, 0.0, 0.0)) == "equivalent"
    assert str(decide(0.1, 0.2, 0.0)) == "supported"


def test_what_is_not_a_number_decides_nothing():
    assert str(decide(np.nan, np.nan, 0.5)) == "inconclusive"


@pytest.mark.parametrize("margin", [0.3, 0.8, 2.0])
def test_equivalence_is_two_one_sided_tests(generator, margin):
    """The interval of level 1 - 2p lies within the margin where TOST's p is below that (Schuirmann 1987)."""
    for first, second in generator.normal(size=(50, 2, 6)):
        p, _, _ = ttost_paired(first, second, -margin, margin)
        interval = paired_interval(first - second, 0.95)
        assert (str(decide(*interval, margin)) == "equivalent") == (p < 0.025)


def test_the_level_shares_the_error_among_the_claims():
    assert [verdict_level(count) for count in (0, 1, 2, 5)] == pytest.approx([0.95, 0.95, 0.975, 0.99])


def test_fewest_seeds_by_trying_all():
    for spread, margin, level in itertools.product((0.1, 0.4, 3.0), (0.2, 1.0), (0.95, 0.99)):
        tried = next(n for n in range(2, 2000) if half_width(spread, n, level) <= margin)
        assert int(seeds_for(spread, margin, level)) == min(tried, statistics.MAX_SEEDS + 1)
    assert list(seeds_for([0.0, 1e6], 1.0, 0.95)) == [2, statistics.MAX_SEEDS + 1]


def test_the_range_of_seeds_by_hand():
    """3 seeds with a spread of 0.3: half of all chi-square values with 2 degrees lie between 0.575 and 2.773."""
    assert seeds_to_settle(0.3, 3, 0.5, 0.95) == (
        int(seeds_for(0.3 * math.sqrt(2 / 2.773), 0.5, 0.95)),
        int(seeds_for(0.3 * math.sqrt(2 / 0.575), 0.5, 0.95)),
    )
    assert seeds_to_settle(0.3, 3, 0.0, 0.95) is None
    assert seeds_to_settle(0.3, 1, 0.5, 0.95) is None


def test_the_range_widens_with_fewer_seeds():
    few, many = seeds_to_settle(1.0, 3, 0.5, 0.95), seeds_to_settle(1.0, 30, 0.5, 0.95)
    assert few[0] < many[0] <= many[1] < few[1]


def test_never_fewer_seeds_needed_than_there_are():
    wide = np.array([0.0, 0.5, 1.0])  # half-width 1.24, above the margin
    assert seeds_still_needed(wide, 1.2, 0.95)[0] == 4
    near = np.array([0.4, 0.5, 0.65])  # half-width 0.31, below the margin, but nearly on it
    low, high = seeds_still_needed(near, 0.5, 0.95)
    assert 3 < low < high and high > 100
    assert seeds_still_needed(np.array([-0.1, 0.1]), 0.0, 0.95) is None  # exactly on it: no number would do


@pytest.mark.parametrize(("num_seeds", "level"), [(2, 0.95), (2, 1 - 0.05 / 6), (3, 0.95), (10, 0.99)])
def test_power_is_that_of_a_one_sided_t_test(num_seeds, level):
    critical = stats.t.isf((1 - level) / 2, num_seeds - 1)
    expected = stats.nct.sf(critical, num_seeds - 1, (1.7 - 0.5) / 0.4 * math.sqrt(num_seeds))
    assert power_to_support(1.7, 0.4, num_seeds, 0.5, level) == pytest.approx(expected, rel=1e-6)
    smallest = smallest_difference(0.4, num_seeds, 0.5, level)
    assert power_to_support(smallest, 0.4, num_seeds, 0.5, level) == pytest.approx(0.8, abs=1e-3)
    solved = TTestPower().solve_power(None, num_seeds, (1 - level) / 2, 0.8, "larger")
    assert smallest == pytest.approx(0.5 + 0.4 * float(np.squeeze(solved)))


def test_on_the_margin_half_the_error_is_the_power():
    assert power_to_support(0.5, 0.4, 3, 0.5, 0.95) == pytest.approx(0.025)


@pytest.mark.parametrize(("difference", "num_seeds", "margin"), [(0.0, 3, 0.4), (0.15, 5, 0.4), (0.0, 2, 0.8)])
def test_power_of_equality_by_simulation(generator, difference, num_seeds, margin):
    low, high = paired_interval(generator.normal(difference, 0.2, (40_000, num_seeds)), 0.95)
    found = (decide(low, high, margin) == "equivalent").mean()
    assert power_to_equate(difference, 0.2, num_seeds, margin, 0.95) == pytest.approx(found, abs=0.01)


def test_power_of_equality_at_its_ends():
    assert power_to_equate(0.0, 0.2, 3, 100.0, 0.95) == pytest.approx(1)
    assert power_to_equate(0.0, 100.0, 3, 0.2, 0.95) == pytest.approx(0, abs=1e-3)


def test_sign_flips_by_hand():
    # Of eight sign patterns only +++ and --- reach a mean as far from 0.
    assert sign_flip_p(np.array([1.0, 2.0, 3.0])) == 0.25
    assert sign_flip_p(np.array([0.0, 0.0, 0.0])) == 1


@pytest.mark.parametrize("num_seeds", [2, 3, 6, 9])
def test_sign_flips_by_brute_force(generator, num_seeds):
    differences = generator.normal(0.6, 1, num_seeds)
    flipped = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=num_seeds)]
    expected = np.mean([total >= abs(differences.sum()) - 1e-12 for total in flipped])
    assert sign_flip_p(differences) == pytest.approx(expected)


def test_many_seeds_flip_at_random_but_always_alike(generator):
    differences = generator.normal(0.5, 1, 18)
    assert sign_flip_p(differences) == sign_flip_p(differences)
    assert sign_flip_p(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)


def test_the_bootstrap_over_images_is_that_of_scipy(generator):
    differences_SI = generator.normal(1, 2, (3, 400))
    expected = stats.bootstrap(
        (differences_SI.mean(axis=0),), np.mean, n_resamples=4000, method="percentile", rng=generator
    ).confidence_interval
    found = bootstrap_over_images(differences_SI, 0.95, generator, 4000)
    assert found == pytest.approx((expected.low, expected.high), abs=0.02)


def test_seeds_that_agree_add_nothing_to_images(generator):
    differences_SI = np.tile(generator.normal(1, 2, 400), (3, 1))
    over_images = bootstrap_over_images(differences_SI, 0.95, np.random.default_rng(1))
    over_both = bootstrap_over_seeds_and_images(differences_SI, 0.95, np.random.default_rng(1))
    assert over_both == pytest.approx(over_images, abs=0.02)


def test_images_are_common_to_all_seeds(generator):
    """An effect of images alone does not average out over seeds: twenty seeds leave the interval as wide."""
    differences_SI = np.tile(generator.normal(0, 1, 100), (20, 1)) + generator.normal(0, 0.01, (20, 1))
    low, high = bootstrap_over_seeds_and_images(differences_SI, 0.95, generator)
    assert high - low == pytest.approx(2 * 1.96 * differences_SI.mean(axis=0).std() / 10, rel=0.1)


def test_images_that_agree_leave_the_spread_of_the_seeds():
    low, high = bootstrap_over_seeds_and_images(np.array([[0.0], [3.0]]).repeat(50, 1), 0.95, np.random.default_rng(0))
    assert (low, high) == pytest.approx((0, 3))  # half of all resamples hold a seed twice


def test_a_test_set_of_full_size_takes_no_time(generator):
    differences_SI = generator.normal(1, 2, (3, 3669))
    start = time.process_time()
    bootstrap_over_seeds_and_images(differences_SI, 0.95, generator, 2000)
    assert time.process_time() - start < 2
