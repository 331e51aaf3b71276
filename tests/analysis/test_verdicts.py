import numpy as np
import pandas as pd
import pytest

from analysis.definition import Definition, Hypothesis
from analysis.metrics import METRICS
from analysis.verdicts import judge

DICE = "test/dice_per_image"


def runs_of(metric=DICE, **arms):
    """Runs of arms A and B by seed from 42; None stands for a failed run."""
    return pd.DataFrame(
        {
            "arm": arm,
            "seed": 42 + number,
            "state": "finished" if value is not None else "failed",
            "reason": "" if value is not None else "out of memory",
            metric: np.nan if value is None else float(value),
        }
        for arm, values in arms.items()
        for number, value in enumerate(values)
    )


def judge_one(runs, metric=DICE, margin=0.005, claims=1, seeds=3, **kind):
    hypothesis = Hypothesis("A is better", "A", "B", metric, margin, **kind)
    definition = Definition(
        "loss", "Loss", "?", ("f",), {"A": {}, "B": {}}, tuple(range(42, 42 + seeds)), (hypothesis,) * claims
    )
    verdicts = judge(definition, runs)
    assert [verdict.number for verdict in verdicts] == list(range(1, claims + 1))
    return verdicts[0]


def test_supported_in_points():
    verdict = judge_one(runs_of(A=[0.85, 0.854, 0.853], B=[0.839, 0.843, 0.841]))
    assert verdict.verdict == "supported"
    assert verdict.seeds == (42, 43, 44)
    assert verdict.values[0] == (0.85, 0.839)
    assert verdict.advantages == pytest.approx((1.1, 1.1, 1.2))
    assert verdict.estimate == pytest.approx(3.4 / 3)
    # Spread 0.0577, t 4.303: half-width 0.1434.
    assert verdict.interval == pytest.approx((0.9899, 1.2768), abs=1e-3)
    assert verdict.verdict_interval == pytest.approx(verdict.interval)
    assert (verdict.level, verdict.margin, verdict.sign_flip_p, verdict.seeds_needed) == (0.95, 0.5, 0.25, None)
    assert verdict.sentence == (
        "A reaches 1.13 points more test per-image Dice than B (95 % interval 0.99 to 1.28, 3 seeds): "
        "supported, by more "
        "than the margin of 0.5."
    )


def test_reversed_says_less_and_gives_the_interval_of_what_it_says():
    verdict = judge_one(runs_of(A=[0.839, 0.843, 0.841], B=[0.85, 0.854, 0.853]))
    assert verdict.interval == pytest.approx((-1.2768, -0.9899), abs=1e-3)
    assert verdict.sentence == (
        "A reaches 1.13 points less test per-image Dice than B (95 % interval 0.99 to 1.28, 3 seeds): "
        "reversed, by more "
        "than the margin of 0.5."
    )


def test_inconclusive_says_how_many_seeds_would_settle_it():
    verdict = judge_one(runs_of(A=[0.85, 0.854, 0.852], B=[0.848, 0.847, 0.848]))
    assert verdict.seeds_needed == (4, 6)
    assert verdict.sentence == (
        "A reaches 0.4 points more test per-image Dice than B (95 % interval -0.2 to 1.1, 3 seeds): "
        "inconclusive; 4 to 6 "
        "seeds would settle a margin of 0.5."
    )


def test_inconclusive_near_the_margin_says_so():
    verdict = judge_one(runs_of(A=[0.8541, 0.8552, 0.8559], B=[0.85, 0.85, 0.85]))
    assert verdict.seeds_needed[0] > 3
    assert "inconclusive, because the interval crosses the margin of 0.5; " in verdict.sentence


def test_a_clear_difference_of_noisy_runs_needs_fewer_seeds_than_the_margin_does():
    verdict = judge_one(runs_of(A=[0.95, 0.9, 0.84], B=[0.8, 0.8, 0.8]))
    assert verdict.seeds_needed[0] > 20
    assert verdict.sentence.endswith("would settle a margin of 0.5, 4 to 8 if the difference stays as it is.")


def test_several_claims_ask_for_a_stricter_level_and_the_sentence_says_so():
    runs = runs_of(A=[0.861, 0.863, 0.862], B=[0.85, 0.85, 0.85])  # half-width 0.25 at 95 %, 0.63 at 99.17 %
    assert judge_one(runs, margin=0.008).verdict == "supported"
    verdict = judge_one(runs, margin=0.008, claims=6)
    assert verdict.level == pytest.approx(1 - 0.05 / 6)
    assert verdict.interval == pytest.approx((0.9516, 1.4484), abs=1e-3)
    assert verdict.verdict_interval == pytest.approx((0.5715, 1.8285), abs=1e-3)
    assert verdict.sentence.startswith(
        "A reaches 1.2 points more test per-image Dice than B (95 % interval 1.0 to 1.4, 3 seeds): inconclusive at the "
        "99.17 % level that 6 claims ask for (0.6 to 1.8), because the interval crosses the margin of 0.8; "
    )


def test_equivalent_and_same():
    runs = runs_of(A=[0.8501, 0.8541, 0.852], B=[0.85, 0.8543, 0.8521])
    assert judge_one(runs).sentence.endswith("3 seeds): equivalent, within the margin of 0.5.")
    assert judge_one(runs, same=True).sentence.endswith("3 seeds): supported, within the margin of 0.5.")
    apart = runs_of(A=[0.95, 0.951, 0.95], B=[0.85, 0.85, 0.85])
    assert judge_one(apart, same=True).sentence.endswith("3 seeds): reversed, by more than the margin of 0.5.")


def test_without_a_margin_any_difference_counts():
    clear = judge_one(runs_of(A=[0.852, 0.853, 0.854], B=[0.85, 0.85, 0.85]), margin=0)
    assert clear.sentence.endswith("3 seeds): supported.")
    verdict = judge_one(runs_of(A=[0.8501, 0.8541, 0.852], B=[0.85, 0.8543, 0.8521]), margin=0)
    assert "because the interval crosses 0; " in verdict.sentence
    assert judge_one(runs_of(A=[0.85, 0.86], B=[0.86, 0.85]), margin=0, seeds=2).sentence.endswith(
        "no number of seeds would tell on which side the difference lies."
    )


def test_less_time_is_an_advantage():
    verdict = judge_one(runs_of("train_seconds", A=[640, 655, 650], B=[950, 960, 965]), "train_seconds", 100)
    assert verdict.advantages == (310, 305, 315)
    assert verdict.sentence == (
        "A takes 310 s less training time than B (95 % interval 298 to 322, 3 seeds): supported, by "
        "more than the margin of 100."
    )


def test_a_ratio_above_one_is_an_advantage():
    runs = runs_of("train_seconds", A=[100, 110, 95], B=[950, 1000, 970])
    verdict = judge_one(runs, "train_seconds", 1.0, ratio=True)
    assert verdict.advantages == pytest.approx((9.5, 1000 / 110, 970 / 95))
    assert verdict.estimate == pytest.approx(np.prod(verdict.advantages) ** (1 / 3))
    logarithms = np.log(verdict.advantages)
    half = 4.30265 * logarithms.std(ddof=1) / np.sqrt(3)
    assert np.log(verdict.interval) == pytest.approx([logarithms.mean() - half, logarithms.mean() + half], abs=1e-5)
    assert verdict.margin == 2
    assert verdict.sentence == (
        "A trains 9.6 times as fast as B (95 % interval 8.3 to 11.1, 3 seeds): supported, above a ratio of 2."
    )


@pytest.mark.parametrize(
    ("first", "second", "same", "end"),
    [
        ([950, 1000, 970], [100, 110, 95], False, "reversed, below a ratio of 0.5."),
        ([100, 110, 95], [101, 111, 97], False, "equivalent, between the ratios 0.5 and 2."),
        ([100, 110, 95], [101, 111, 97], True, "supported, between the ratios 0.5 and 2."),
        ([100, 110, 95], [950, 1000, 970], True, "reversed, above a ratio of 2."),
    ],
)
def test_the_verdicts_on_ratios(first, second, same, end):
    runs = runs_of("train_seconds", A=first, B=second)
    assert judge_one(runs, "train_seconds", 1.0, ratio=True, same=same).sentence.endswith(end)


def test_a_ratio_of_what_is_not_positive_is_refused():
    runs = runs_of("train_seconds", A=[100, 0, 95], B=[950, 1000, 970])
    verdict = judge_one(runs, "train_seconds", 1.0, ratio=True)
    assert (verdict.verdict, verdict.estimate, verdict.seeds) == ("inconclusive", None, ())
    assert "a ratio needs values above 0" in verdict.sentence


def test_two_seeds_far_apart_give_a_ratio_without_end():
    runs = runs_of("train_seconds", A=[1e-9, 1e9], B=[1e9, 1e-9])
    verdict = judge_one(runs, "train_seconds", 1.0, ratio=True, claims=6, seeds=2)
    assert verdict.verdict == "inconclusive"
    assert np.isfinite(verdict.verdict_interval).all()


def test_one_seed_is_inconclusive():
    verdict = judge_one(runs_of(A=[0.95], B=[0.85]), seeds=1)
    assert (verdict.verdict, verdict.interval, verdict.seeds_needed) == ("inconclusive", None, None)
    assert verdict.estimate == pytest.approx(10)
    start = "A reaches 10.00 points more test per-image Dice than B (1 seed): inconclusive, because one seed "
    assert verdict.sentence == f"{start}does not show the spread; run two more at least."
    several = judge_one(runs_of(A=[0.95], B=[0.85]), seeds=3)
    assert several.sentence == f"{start}does not show the spread; the other 2 seeds are still missing."


def test_convergence_in_the_first_epoch_is_noted():
    verdict = judge_one(runs_of("epochs_to_90", A=[1.0, 1.0], B=[5.0, 6.0]), "epochs_to_90", 1.0, seeds=2)
    assert [note for note in verdict.notes if "learns nothing" in note] == [
        "A is within 10 % of its final Dice after the first epoch already, as a network is too that learns nothing: "
        "look at its curve before you call it fast"
    ]


def test_arms_are_paired_on_their_common_seeds_and_it_is_said():
    runs = runs_of(A=[0.86, 0.86, 0.86, 0.9], B=[0.85, None, 0.85])
    verdict = judge_one(runs, seeds=4)
    assert verdict.seeds == (42, 44)
    assert verdict.notes[:3] == (
        "B, seed 43: failed (out of memory)",
        "B, seed 45: not run",
        "compared on the common seeds 42, 44; seeds 43, 45 of A left out, for want of a partner",
    )


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (runs_of(A=[0.85, 0.86, 0.85], B=[None] * 3), "B has no finished run; run the ablation again"),
        (runs_of(A=[0.85, 0.86, 0.85]), "B has no finished run; run the ablation again"),
        (runs_of(A=[None] * 3, B=[None] * 3), "A and B have no finished run; run the ablation again"),
        (
            runs_of(A=[0.85, None], B=[None, 0.85]),
            "the arms have no seed in common (A has seed 42, B has seed 43); run both on the same seeds",
        ),
        (runs_of("val/loss", A=[1, 2], B=[1, 2]), f"no run has {DICE}; name a metric"),
        (runs_of(A=[0.85, 0.86], B=[np.nan, np.inf]), "no finished run of B has a number for the test per-image Dice"),
    ],
)
def test_what_cannot_be_compared_is_inconclusive_for_a_reason(runs, reason):
    verdict = judge_one(runs)
    assert (verdict.verdict, verdict.estimate, verdict.interval) == ("inconclusive", None, None)
    assert any(note.startswith(reason) for note in verdict.notes)
    assert verdict.sentence.startswith(f"A against B, test per-image Dice: inconclusive, because {reason}")


def test_no_runs_at_all():
    verdict = judge_one(pd.DataFrame(columns=["arm", "seed", "state"]))
    assert verdict.notes[0] == "A, seeds 42, 43, 44: not run"


def test_parameters_need_no_doubt():
    runs = runs_of("parameters", A=[7e6] * 3, B=[6e6] * 3)
    verdict = judge_one(runs, "parameters", 1000)
    assert verdict.interval == (-1e6, -1e6)
    assert verdict.notes == ()
    assert verdict.sentence == (
        "A has 1,000,000 parameters more than B (the same on all 3 seeds): reversed, by more than the margin of 1000."
    )


def test_equal_whole_numbers_are_no_certainty():
    """Three times two epochs: rounding alone gives a spread of 0.408, and 4.303 * 0.408 / sqrt(3) is 1.014."""
    verdict = judge_one(runs_of("epochs_to_90", A=[3, 3, 3], B=[5, 5, 5]), "epochs_to_90", 1)
    assert verdict.interval == pytest.approx((0.986, 3.014), abs=1e-3)
    assert verdict.verdict == "inconclusive"
    assert verdict.notes == (
        "the 3 differences vary less than whole numbers can tell: the interval is as wide as rounding alone makes it",
    )
    ratio = judge_one(runs_of("epochs_to_90", A=[3] * 3, B=[6] * 3), "epochs_to_90", 0.1, ratio=True)
    assert ratio.interval[0] < 2 < ratio.interval[1]


def test_differences_of_two_kinds_are_noted():
    verdict = judge_one(runs_of("epochs_to_90", A=[3, 3, 3], B=[5, 5, 8]), "epochs_to_90", 1)
    assert verdict.notes[0].startswith("the 3 differences take only two values")


@pytest.mark.parametrize("claim", [{}, {"same": True}, {"margin": 0}, {"ratio": True}])
@pytest.mark.parametrize(
    ("first", "second", "because"),
    [
        ([0.85] * 3, [0.85] * 3, "both arms give the same value on all 3 seeds, as if the seed were not used"),
        ([0.85] * 3, [0.75] * 3, "both arms give the same value on all 3 seeds, as if the seed were not used"),
        (
            [0.85, 0.86, 0.84],
            [0.85, 0.86, 0.84],
            "the arms give the same values on all 3 seeds, as if they did not differ",
        ),
    ],
)
def test_luck_that_does_nothing_is_no_certainty(first, second, because, claim):
    verdict = judge_one(runs_of(A=first, B=second), **claim)
    assert (verdict.verdict, verdict.seeds_needed) == ("inconclusive", None)
    assert verdict.sentence.endswith(f"(the same on all 3 seeds): inconclusive, because {because}.")


def test_the_same_difference_but_for_the_last_bit_is_the_same():
    verdict = judge_one(runs_of(A=[0.90, 0.91, 0.92], B=[0.80, 0.81, 0.82]))
    assert verdict.sentence == (
        "A reaches 10.00 points more test per-image Dice than B (the same on all 3 seeds): inconclusive, because all 3 "
        "seeds give exactly the same difference, which luck hardly does; check what the runs are."
    )


def test_memory_may_be_the_same_for_every_seed():
    """As that of a GPU is: then it is as sure as to 0.01 GiB, and decided."""
    verdict = judge_one(runs_of("peak_memory_gib", A=[1.5] * 3, B=[2.5] * 3), "peak_memory_gib", 0.5)
    assert verdict.verdict == "supported"
    assert verdict.notes[0].startswith("the 3 differences vary less than steps of 0.01 GiB can tell")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("ratio", [False, True])
def test_every_metric_has_its_sentences(metric, ratio):
    runs = runs_of(metric, A=[0.7, 0.71, 0.72], B=[0.8, 0.81, 0.83])
    for arms in (runs, runs.assign(arm=runs["arm"].map({"A": "B", "B": "A"}))):
        sentence = judge_one(arms, metric, 0.001, ratio=ratio).sentence
        statement, _, _ = sentence.partition(" (95 %")
        assert "{" not in sentence and "  " not in sentence
        assert {"A", "B"} <= set(statement.split())


def test_a_tie_is_called_so():
    verdict = judge_one(runs_of(A=[0.85, 0.86, 0.85], B=[0.86, 0.85, 0.85]))
    assert verdict.sentence.startswith("A and B come to the same test per-image Dice on average (95 % interval -")
