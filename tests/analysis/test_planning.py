import numpy as np
import pandas as pd
import pytest

from analysis.definition import Definition, Hypothesis
from analysis.planning import ASSUMED_SPREAD, outlook
from analysis.statistics import half_width, power_to_equate, smallest_difference, verdict_level

DICE = "test/dice_per_image"
NO_RUNS = pd.DataFrame(columns=["arm", "seed", "state"])


def runs_of(metric=DICE, **arms):
    return pd.DataFrame(
        {"arm": arm, "seed": seed, "state": "finished", metric: value}
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    )


def look_ahead(num_seeds, runs=NO_RUNS, metric=DICE, margin=0.005, claims=1, **kind):
    hypothesis = Hypothesis("A is better", "A", "B", metric, margin, **kind)
    definition = Definition("loss", "Loss", "?", ("f",), {"A": {}, "B": {}}, (1, 2, 3), (hypothesis,) * claims)
    found = outlook(definition, num_seeds, runs)
    assert [one.number for one in found] == list(range(1, claims + 1))
    return found[0]


def test_without_runs_the_spread_of_a_dice_is_assumed():
    found = look_ahead(3)
    assert (found.spread, found.spread_source) == (ASSUMED_SPREAD, "assumed")
    assert found.half_width == pytest.approx(4.30265 * 0.2 / np.sqrt(3), abs=1e-4)  # 0.497, just below 0.5
    assert found.smallest == pytest.approx(smallest_difference(0.2, 3, 0.5, 0.95))
    assert (found.decidable, found.seeds_needed) == (True, 3)
    assert found.sentence == (
        "Hypothesis 1 (A against B, test per-image Dice): 3 seeds can settle a margin of 0.5; an advantage of 1.2 "
        "points or more is shown in 80 of 100 cases (interval of about 0.5 points either way at a spread of 0.2 "
        "points, assumed)."
    )


def test_several_claims_ask_for_more_seeds():
    found = look_ahead(3, claims=6)
    assert found.half_width == pytest.approx(float(half_width(0.2, 3, verdict_level(6))))
    assert (found.decidable, found.seeds_needed) == (False, 5)
    assert "3 seeds cannot settle a margin of 0.5; an advantage of 2.1 points or more" in found.sentence
    assert found.sentence.endswith("; 5 seeds would do.")


def test_the_spread_of_finished_runs_of_both_arms_comes_first():
    runs = runs_of(A=[0.851, 0.852, 0.853], B=[0.85, 0.85, 0.85], C=[0.1, 0.5, 0.9])
    found = look_ahead(3, runs)
    assert found.spread == pytest.approx(0.1)
    assert found.spread_source == "from 3 pairs of finished runs"


def test_else_that_of_all_pairs_of_arms_is_pooled():
    # B has not run.  A - C: 0.1, 0.2, 0.3 points; A - D and C - D: spreads of 0.1 and 0 points.
    runs = runs_of(A=[0.851, 0.852, 0.853], C=[0.85, 0.85, 0.85], D=[0.8, 0.8, 0.8])
    found = look_ahead(3, runs)
    assert found.spread == pytest.approx(0.1 * np.sqrt(2 / 3))
    assert found.spread_source == "from 9 pairs of finished runs of all arms"


def test_runs_that_did_not_finish_say_nothing():
    runs = runs_of(A=[0.851, 0.852, 0.853], B=[0.85, 0.85, 0.85]).assign(state="failed")
    assert look_ahead(3, runs).spread_source == "assumed"


def test_one_seed_decides_nothing():
    found = look_ahead(1)
    assert (found.decidable, found.half_width, found.smallest) == (False, None, None)
    assert found.sentence.endswith("one seed decides nothing; 3 seeds would do.")
    assert look_ahead(1, metric="train/loss").sentence.endswith("one seed decides nothing; two are the least.")


def test_for_other_metrics_nothing_is_assumed():
    found = look_ahead(3, metric="train_seconds", margin=60)
    assert (found.spread, found.half_width, found.smallest, found.seeds_needed) == (None,) * 4
    assert found.decidable
    assert found.sentence.endswith("what 3 seeds can show is not known before runs of two arms have finished.")


def test_parameters_have_no_spread():
    found = look_ahead(3, metric="parameters", margin=1000)
    assert (found.half_width, found.smallest, found.decidable) == (0, 1000, True)
    assert found.sentence.endswith("the same for every seed, so any difference above a margin of 1000 shows.")


def test_equality_is_planned_by_its_own_power():
    found = look_ahead(4, same=True)
    chance = round(100 * power_to_equate(0, 0.2, 4, 0.5, 0.95))
    assert found.decidable
    assert f"where the arms are the same, that is shown in {chance} of 100 cases" in found.sentence
    assert not look_ahead(9, same=True, margin=0).decidable
    assert "without a margin; declare one" in look_ahead(9, same=True, margin=0).sentence


def test_without_a_margin_there_is_nothing_to_reach():
    found = look_ahead(3, margin=0)
    assert (found.decidable, found.seeds_needed) == (True, None)
    assert "with 3 seeds, an advantage of 0.7 points or more is shown" in found.sentence


def test_ratios_are_planned_on_logarithms():
    runs = runs_of("train_seconds", A=[100, 100, 100], B=[200, 210, 190])
    found = look_ahead(3, runs, "train_seconds", 1.0, ratio=True)
    spread = np.log([2.0, 2.1, 1.9]).std(ddof=1)
    assert found.spread == pytest.approx(spread)
    assert found.smallest == pytest.approx(np.exp(smallest_difference(spread, 3, np.log(2), 0.95)))
    assert "3 seeds can settle a ratio of 2; a ratio of 2.35 or more is shown" in found.sentence
    assert "interval up to 1.13 times either way at a spread of 5 %" in found.sentence


def test_equal_whole_numbers_have_the_spread_of_rounding():
    found = look_ahead(3, runs_of("epochs_to_90", A=[3, 3, 3], B=[5, 5, 5]), "epochs_to_90", 1)
    assert found.spread == pytest.approx(1 / np.sqrt(6))
    assert not found.decidable


def test_equal_values_of_another_metric_are_not_believed():
    found = look_ahead(3, runs_of("train/loss", A=[0.2, 0.2], B=[0.3, 0.3]), "train/loss")
    assert found.spread is None
