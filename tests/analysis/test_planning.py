import numpy as np
import pandas as pd
import pytest

from analysis.definition import Definition, Hypothesis
from analysis.metrics import METRICS
from analysis.planning import outlook
from analysis.spreads import ASSUMED_DIFFERENCES, ASSUMED_POINTS
from analysis.statistics import half_width, power_to_equate, smallest_difference, verdict_level

DICE = "test/dice_per_image"
NO_RUNS = pd.DataFrame(columns=["arm", "seed", "state"])


def runs_of(metric=DICE, **arms):
    return pd.DataFrame(
        {"arm": arm, "seed": seed, "state": "finished", metric: value}
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    )


def look_ahead(num_seeds, runs=NO_RUNS, metric=DICE, margin=0.005, claims=1, epochs=None, seeds=None, **kind):
    """The first outlook with so many seeds of both arms, or with the `seeds` of each arm."""
    hypothesis = Hypothesis("A is better", "A", "B", metric, margin, **kind)
    definition = Definition("loss", "Loss", "?", ("f",), {"A": {}, "B": {}}, (1, 2, 3), (hypothesis,) * claims)
    found = outlook(definition, seeds or dict.fromkeys("AB", range(num_seeds)), runs, epochs)
    assert [one.number for one in found] == list(range(1, claims + 1))
    return found[0]


def test_without_runs_the_spread_of_a_dice_is_assumed():
    found = look_ahead(3)
    assert (found.spread, found.spread_source) == (ASSUMED_POINTS, "assumed")
    assert found.half_width == pytest.approx(4.30265 * 0.2 / np.sqrt(3), abs=1e-4)  # 0.497, just below 0.5
    assert found.smallest == pytest.approx(smallest_difference(0.2, 3, 0.5, 0.95))
    assert (found.decidable, found.seeds_needed) == (True, (3, 3))
    assert found.sentence == (
        "Hypothesis 1 (A against B, test per-image Dice): 3 seeds can settle a margin of 0.5; an advantage of 1.2 "
        "points or more is shown in 80 of 100 cases (interval of about 0.5 points either way at a spread of 0.2 "
        "points, assumed)."
    )


def test_several_claims_ask_for_more_seeds():
    found = look_ahead(3, claims=6)
    assert found.half_width == pytest.approx(float(half_width(0.2, 3, verdict_level(6))))
    assert (found.decidable, found.seeds_needed) == (False, (5, 5))
    assert "3 seeds cannot settle a margin of 0.5; an advantage of 2.1 points or more" in found.sentence
    assert found.sentence.endswith("; 5 seeds would do.")


def test_the_spread_of_finished_runs_of_both_arms_comes_first():
    runs = runs_of(A=[0.851, 0.852, 0.853], B=[0.85, 0.85, 0.85], C=[0.1, 0.5, 0.9])
    found = look_ahead(3, runs)
    assert found.spread == pytest.approx(0.1)
    assert found.spread_source == "from 3 pairs of finished runs"


def test_else_that_of_all_pairs_of_arms_is_pooled():
    # B has not run.  A - C: 0.1, 0.2, 0.3 points; A - D: a spread of 0.2; C - D: of 0.1.
    runs = runs_of(A=[0.851, 0.852, 0.853], C=[0.85, 0.85, 0.85], D=[0.801, 0.8, 0.799])
    found = look_ahead(3, runs)
    assert found.spread == pytest.approx(0.1 * np.sqrt((1 + 4 + 1) / 3))
    assert found.spread_source == "from 9 pairs of finished runs of all arms"


def test_arms_that_are_the_same_do_not_thin_the_pooled_spread():
    runs = runs_of(A=[0.851, 0.852, 0.853], C=[0.85, 0.85, 0.85], D=[0.8, 0.8, 0.8])
    found = look_ahead(3, runs)
    assert found.spread == pytest.approx(0.1)
    assert found.spread_source == "from 6 pairs of finished runs of all arms"


def test_runs_that_did_not_finish_say_nothing():
    runs = runs_of(A=[0.851, 0.852, 0.853], B=[0.85, 0.85, 0.85]).assign(state="failed")
    assert look_ahead(3, runs).spread_source == "assumed"


def test_one_seed_decides_nothing():
    found = look_ahead(1)
    assert (found.decidable, found.half_width, found.smallest) == (False, None, None)
    assert found.sentence.endswith("one seed decides nothing; 3 seeds would do.")
    assert look_ahead(1, metric="train_seconds").sentence.endswith("one seed decides nothing; two are the least.")


def test_of_seconds_nothing_is_assumed_and_that_is_a_warning():
    found = look_ahead(3, metric="train_seconds", margin=60)
    assert (found.spread, found.half_width, found.smallest, found.seeds_needed) == (None,) * 4
    assert not found.decidable
    assert found.sentence.endswith(
        "what 3 seeds can show is not known before runs of two arms have finished, for no spread of the training time "
        "is assumed."
    )


@pytest.mark.parametrize(
    ("metric", "margin", "ratio", "spread"),
    [
        ("epochs_to_90", 1, False, 2.0),
        ("train/loss", 0.005, False, 0.01),
        ("val/dice_variation", 0.001, False, 0.75),
        ("train_seconds", 0.1, True, 0.05),
        (DICE, 0.01, True, 0.0025),
    ],
)
def test_other_spreads_are_assumed_and_called_so(metric, margin, ratio, spread):
    found = look_ahead(3, metric=metric, margin=margin, ratio=ratio)
    assert (found.spread, found.spread_source) == (spread, "assumed")
    assert found.seeds_needed is not None
    assert found.decidable == (found.half_width <= (np.log1p(margin) if ratio else margin * METRICS[metric].scale))
    assert "assumed" in found.sentence


def test_what_is_assumed_of_whole_numbers_is_more_than_rounding():
    assert ASSUMED_DIFFERENCES["epochs_to_90"] > 1 / np.sqrt(6)


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
    assert "with a margin of 0; declare a larger one" in look_ahead(9, same=True, margin=0).sentence


def test_without_a_margin_there_is_nothing_to_reach():
    found = look_ahead(3, margin=0)
    assert (found.decidable, found.seeds_needed) == (True, None)
    assert "with 3 seeds, an advantage of 0.7 points or more is shown" in found.sentence


def test_ratios_are_planned_on_logarithms():
    runs = runs_of("train_seconds", A=[100, 100, 100], C=[200, 210, 190])
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
    # A step is a tenth of 10 and a fifth of 5.
    ratio = look_ahead(3, runs_of("epochs_to_90", A=[5, 5, 5], B=[10, 10, 10]), "epochs_to_90", 1, ratio=True)
    assert ratio.spread == pytest.approx(np.sqrt((1 / 25 + 1 / 100) / 2 / 6))


def test_equal_values_of_another_metric_are_not_believed():
    found = look_ahead(3, runs_of("train/loss", A=[0.2, 0.2], B=[0.3, 0.3]), "train/loss")
    assert (found.spread, found.spread_source) == (0.01, "assumed")
    rounded = look_ahead(3, runs_of(A=[0.90, 0.91, 0.92], B=[0.80, 0.81, 0.82]))  # equal but for the last bit
    assert rounded.spread_source == "assumed"


def test_only_seeds_that_both_arms_will_have_count():
    found = look_ahead(0, seeds={"A": {1, 2, 3}, "B": {3, 4}})
    assert (found.num_seeds, found.decidable) == (1, False)
    assert found.sentence.endswith("one seed decides nothing; 3 seeds would do.")
    nothing = look_ahead(0, seeds={"A": {1, 2, 3}, "B": set()})
    assert nothing.sentence.endswith("B will have no run, so nothing can be compared.")
    apart = look_ahead(0, seeds={"A": {1}, "B": {2}})
    assert apart.sentence.endswith("the arms will have no seed in common, so nothing can be compared.")


def test_what_finished_runs_have_settled_is_said():
    found = look_ahead(3, runs_of(A=[0.851, 0.852, 0.854], B=[0.751, 0.752, 0.75]))
    assert (found.is_settled, found.decidable) == (True, True)
    assert found.sentence.endswith(": supported already, with the 3 seeds that have finished.")


def test_what_stays_open_for_want_of_new_seeds_is_said_with_the_verdicts_seeds():
    runs = runs_of(A=[0.850, 0.854, 0.852], B=[0.848, 0.847, 0.848])  # 0.2, 0.7 and 0.4 points: 4 to 6 seeds
    found = look_ahead(3, runs)
    assert (found.decidable, found.seeds_needed) == (False, (4, 6))
    assert found.sentence.endswith(": inconclusive with the 3 seeds that have finished; 4 to 6 seeds would do.")
    assert look_ahead(6, runs).decidable


def test_a_difference_near_the_margin_needs_the_seeds_of_its_verdict():
    runs = runs_of(A=[0.8541, 0.8552, 0.8559], B=[0.85, 0.85, 0.85])
    found = look_ahead(4, runs)
    assert found.half_width < 0.5 and not found.decidable
    low, high = found.seeds_needed
    assert (low, high) == found.verdict.seeds_needed
    assert found.sentence.endswith(
        f"crosses a margin of 0.5, which 4 seeds will hardly change; {low} to more than 1000 seeds would tell on which "
        "side the difference lies."
    )


def test_the_pooled_spread_gives_a_range_too():
    runs = runs_of(A=[0.851, 0.852, 0.853], C=[0.85, 0.853, 0.847], D=[0.8, 0.8, 0.8])
    low, high = look_ahead(3, runs).seeds_needed
    assert low < high


@pytest.mark.parametrize(
    ("metric", "margin", "epochs", "wide"),
    [(DICE, 0.005, None, {"A": [0.1, 0.9], "C": [0.9, 0.1]}), ("epochs_to_90", 1, 12, {"A": [1, 9], "C": [9, 1]})],
)
def test_a_difference_that_cannot_be_is_none(metric, margin, epochs, wide):
    found = look_ahead(2, runs_of(metric, **wide), metric, margin, epochs=epochs)
    assert (found.smallest, found.decidable) == (np.inf, False)
    assert "no difference can show" in found.sentence


def test_runs_of_two_machines_give_no_spread_of_times_and_are_warned_of():
    runs = runs_of("train_seconds", A=[100, 110, 95], B=[950, 1000, 970])
    runs["device"] = runs["arm"].map({"A": "NVIDIA H200", "B": "cpu"})
    found = look_ahead(3, runs, "train_seconds", 1.0, ratio=True)
    assert (found.spread_source, found.decidable) == ("assumed", False)
    assert "were not computed alike" in found.sentence
