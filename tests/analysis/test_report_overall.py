"""Claim 3.6, shared trainings and names of experiments in one report, on frames made by hand."""

from dataclasses import replace

import pandas as pd
import pytest

from analysis.definition import Definition, Hypothesis
from analysis.numbers import counted, with_unit
from analysis.reporting.gather import describe_context
from analysis.reporting.material import Material, told_apart
from analysis.reporting.methods import describe_methods
from analysis.reporting.overall import (
    RULE,
    describe_overall,
    judge_following,
    means_of_arms,
    overall_claims,
)
from analysis.reporting.sections import claims_of
from analysis.reporting.trainings import shared_arms, trainings_of
from analysis.results import Results
from analysis.verdicts import judge

SEEDS = (1, 2)
ABSENT = ("git_commit", "git_dirty", "device", "threads", "torch", "num_train", "num_validation", "num_test")


def make(name, dice, *, experiment=None, section=None, title=None, data="da7a", epochs="2", **columns):
    """An ablation: validation Dice by arm, a value a seed; test is 0.01 higher.  columns: other values of all runs."""
    arms = list(dice)
    claims = (Hypothesis("first wins", arms[0], arms[-1], "test/dice_per_image", 0.01),)
    definition = Definition(
        name, title or name.title(), "Why?", ("optimizer.lr",), {arm: {} for arm in arms}, SEEDS, claims, section
    )
    pairs = [(arm, seed, value) for arm, values in dice.items() for seed, value in zip(SEEDS, values, strict=True)]
    runs = pd.DataFrame(
        [
            {
                "run_id": f"{experiment or name}/{arm}/{seed}",
                "arm": arm,
                "seed": seed,
                "state": "finished",
                "reason": "",
                "fingerprint": f"{experiment or name}/{arm}/{seed}",
                "reused_from": "",
                "data_name": "pets",
                "data_fingerprint": data,
                "val/dice_per_image": 0.0,
                "train_seconds": 60.0,
                "test/dice_per_image": value + 0.01,
                "test_at_0.5/dice_per_image": value + 0.01,
                **dict.fromkeys(ABSENT),
                **columns,
            }
            for arm, seed, value in pairs
        ]
    )
    epoch_rows = [
        {"arm": arm, "seed": seed, "epoch": epoch, "metric": "val/dice_per_image", "value": value - 0.1 * (epoch != 1)}
        for arm, seed, value in pairs
        for epoch in (1, 2)
    ]
    params = {run: {"trainer.epochs": epochs, "data.image_size": "64", "data.format": "pets"} for run in runs["run_id"]}
    results = Results(
        experiment or name, definition, "1f3a", {"1f3a": len(runs)}, runs, pd.DataFrame(epoch_rows), params, ()
    )
    nothing = pd.DataFrame()
    verdicts = tuple(judge(definition, runs))
    return told_apart([Material(results, verdicts, nothing, nothing, (), definition, True)])[0]


DICE = {"a": (0.60, 0.62), "b": (0.70, 0.72), "c": (0.80, 0.82), "d": (0.90, 0.92)}


def fail(material, arm, seed):
    """The material with one run that failed."""
    runs = material.results.runs
    runs.loc[(runs["arm"] == arm) & (runs["seed"] == seed), ["state", "test_at_0.5/dice_per_image"]] = [
        "failed",
        float("nan"),
    ]
    return material


def test_the_best_epoch_counts_and_arms_are_the_units():
    trainings = trainings_of([make("one", DICE)])
    assert list(trainings["validation"]) == [0.60, 0.62, 0.70, 0.72, 0.80, 0.82, 0.90, 0.92]
    assert list(means_of_arms(trainings)["validation"].round(6)) == [0.61, 0.71, 0.81, 0.91]


def test_without_any_finished_run_there_is_no_training_and_no_verdict():
    material = make("one", {"a": (0.6, 0.7)})
    for seed in (1, 2):
        fail(material, "a", seed)
    trainings = trainings_of([material])
    assert trainings.empty and "unit" in trainings
    assert judge_following(trainings).verdict == "inconclusive"


def test_a_training_counts_once_and_arms_that_share_one_are_one_unit():
    one = make("one", {"x": (0.60, 0.62), "y": (0.60, 0.62), "z": (0.7, 0.8)})  # x and y: two thresholds
    copy = make("two", {"p": (0.7, 0.9), "q": (0.3, 0.4)})
    copy.results.runs.loc[0, "fingerprint"] = "one/z/1"  # and its seed 2 was trained for this ablation
    trainings = trainings_of([one, copy])
    assert list(zip(trainings["ablation"], trainings["arm"], trainings["seed"], strict=True)) == [
        ("One", "x", 1),
        ("One", "x", 2),
        ("One", "z", 1),
        ("One", "z", 2),
        ("Two", "p", 2),
        ("Two", "q", 1),
        ("Two", "q", 2),
    ]
    assert list(means_of_arms(trainings)["validation"].round(6)) == [0.61, 0.8, 0.35]
    assert shared_arms([one, copy]) == [[("One", "x"), ("One", "y")], [("One", "z"), ("Two", "p")]]


def with_test(values, **changes):
    """A training of each of as many arms, whose validation rises by 0.1 from 0.5, with these test values."""
    validation = [0.5 + 0.1 * position for position in range(len(values))]
    content = {"ablation": "a", "unit": range(len(values)), "validation": validation, "test": values, "data": "da7a"}
    return pd.DataFrame(content | changes)


@pytest.mark.parametrize(
    ("values", "verdict", "sentence"),
    [
        ([0.51, 0.60, 0.72, 0.80], "supported", "Over 4 arms (4 trainings) the correlation of test and validation"),
        ([0.80, 0.72, 0.60, 0.51], "reversed", "wholly below 0): reversed."),
        ([0.9, 0.8, 0.9, 0.8, 0.85], "inconclusive", "not wholly above 0.5, nor below 0): inconclusive."),
        ([0.5, 0.6, 0.7], "inconclusive", "because it takes 4 arms that differ, and there are 3."),
        ([0.5, 0.5, 0.5, 0.5], "inconclusive", "because it takes 4 arms that differ, and there are 4."),
    ],
)
def test_test_follows_validation_or_not(values, verdict, sentence):
    found = judge_following(with_test(values))
    assert found.verdict == verdict
    assert sentence in found.sentence


def test_the_interval_is_fishers():
    found = judge_following(with_test([0.5, 0.7, 0.6, 0.8]))  # ranks 1 3 2 4: correlation 0.8
    assert found.correlation == pytest.approx(0.8)
    # atanh 0.8 = 1.0986, 1.95996 to either side (n - 3 = 1)
    assert found.limits == pytest.approx((-0.6970, 0.9956), abs=1e-4)
    exact = judge_following(with_test([0.5, 0.6, 0.7, 0.8]))
    assert exact.verdict == "supported" and exact.limits[1] <= 1


def test_different_data_would_correlate_by_themselves():
    found = judge_following(with_test([0.5, 0.6, 0.7, 0.8], data=["x", "x", "y", "y"]))
    assert found.verdict == "inconclusive"
    assert "2 kinds of data" in found.sentence


def test_another_image_size_or_border_is_other_data():
    one, other = make("one", DICE), make("two", DICE)
    assert trainings_of([one, other])["data"].nunique() == 1
    for key, value in (("data.image_size", "32"), ("data.border", "background")):
        params = {run: settings | {key: value} for run, settings in other.results.params.items()}
        changed = replace(other, results=replace(other.results, params=params))
        found = judge_following(trainings_of([one, changed]))
        assert found.sentence.endswith(
            "because the runs are on 2 kinds of data (content, split, border rule or image size), whose difference "
            "alone would make a correlation."
        )


def test_data_that_was_not_recorded_is_no_kind_of_its_own():
    values = [0.5, 0.6, 0.7, 0.8]
    found = judge_following(with_test(values, data=["x", "x", "x", ""]))
    assert found.verdict == "inconclusive"
    assert found.sentence.endswith(
        "because the data of 1 training was not recorded, and a difference of data alone would make a correlation."
    )
    assert "2 kinds of data" in judge_following(with_test(values, data=["x", "y", "x", ""])).sentence
    assert judge_following(with_test(values, data="")).verdict == "supported"
    one = make("one", DICE)
    without = replace(one, results=replace(one.results, params={}))
    assert set(trainings_of([without])["data"]) == {""}


def test_one_test_set_is_stated_only_where_it_is_known():
    assert any("All runs share one test set" in text for text in describe_overall(with_test([0.5, 0.6, 0.71, 0.8])))
    unknown = describe_overall(with_test([0.5, 0.6, 0.71, 0.8], data=""))
    assert not any("All runs share" in text for text in unknown)
    assert "Whether all runs share one test set was not recorded." in unknown
    both = trainings_of([make("one", DICE), make("two", DICE, data="beef")])
    assert not any("share one test set" in text for text in describe_overall(both))


def test_the_claim_over_all_has_a_row_and_its_rule_is_in_the_methods():
    pair = told_apart([make("one", DICE, section="3.1"), make("two", {"e": (0.3, 0.4), "f": (0.4, 0.5)})])
    [claim] = overall_claims(pair, trainings_of(pair))
    assert (claim.place, claim.anchor, claim.verdict, claim.extent) == ("3.6", "overall", "supported", "6 arms")
    assert claim.estimate.startswith("correlation 1.000") and "above 0.5" in claim.arms
    assert overall_claims(pair[:1], trainings_of(pair[:1])) == ()
    assert len(overall_claims([make("best", DICE, section="3.6")], trainings_of(pair))) == 1
    methods = {part.title: part.text for part in describe_methods(pair, is_overall_judged=True)}
    assert methods["Statistics"].endswith(RULE)
    assert RULE not in describe_methods(pair)[-2].text


def test_methods_name_what_is_lacking_and_what_is_shared():
    one = fail(make("one", {"x": (0.60, 0.62), "y": (0.60, 0.62), "z": (0.7, 0.8)}), "z", 2)
    [seeds] = [part.text for part in describe_methods([one]) if part.title == "Seeds"]
    assert seeds.startswith(
        "Each arm was trained once for each seed: 1 and 2. Exceptions: without a result is z (seed 2) of One (failed); "
        "trainings are shared by x and y of One. A run's seed"
    )
    [seeds] = [part.text for part in describe_methods([make("one", DICE)]) if part.title == "Seeds"]
    assert seeds.startswith("Each arm was trained once for each seed: 1 and 2. A run's seed")


def test_two_experiments_of_one_ablation_are_told_apart():
    first, second = (
        make("loss", DICE, experiment="loss-demo", section="3.4"),
        make("loss", DICE, experiment="loss-pets64", section="3.4"),
    )
    other = make("own", DICE, title="Loss")
    demo, pets, own = told_apart([first, second, other])
    assert [material.stem for material in (demo, pets, own)] == ["loss-demo", "loss-pets64", "own"]
    assert [material.label for material in (demo, own)] == ["Loss (loss-demo)", "Loss (own)"]
    assert [claim.place for material in (demo, pets, own) for claim in claims_of(material)] == (
        ["3.4 (loss-demo)", "3.4 (loss-pets64)", "Loss (own)"]
    )
    assert (first.stem, first.label, first.place) == ("loss", "Loss", "3.4")
    assert len(trainings_of([demo, pets])) == 16


def test_an_ablation_called_like_an_experiment_is_told_apart_too():
    experiments = [make("loss", DICE, experiment=name) for name in ("loss", "loss-demo")]
    third = make("loss-demo", DICE, experiment="loss-demo-pets64")
    stems = [material.stem for material in told_apart([*experiments, third])]
    assert stems == ["loss", "loss-demo", "loss-demo-pets64"]


def test_the_context_of_several_has_all_values():
    few, many = make("one", DICE, epochs="2"), make("two", DICE, epochs="10")
    assert describe_context([many, few]) == "Oxford-IIIT Pet, 64 x 64 pixels, 2 or 10 epochs"
    assert describe_context([make("one", DICE, epochs="1")]) == "Oxford-IIIT Pet, 64 x 64 pixels, 1 epoch"


def test_one_of_a_kind_has_no_s():
    assert [with_unit("1", "epochs"), with_unit("2", "epochs"), with_unit("1", "s")] == ["1 epoch", "2 epochs", "1 s"]
    assert [counted("1", "epoch"), counted("1 or 2", "epoch")] == ["1 epoch", "1 or 2 epochs"]


def test_of_one_seed_only_what_there_is_is_told():
    material = fail(make("one", {"a": (0.5, 0.6), "b": (0.4, 0.5)}), "a", 2)
    results = material.results
    single = Material(results, tuple(judge(results.definition, results.runs)), *[pd.DataFrame()] * 2, (), None, False)
    [claim] = claims_of(single)
    assert claim.extent == "1 seed"
    assert claim.evidence == ("test per-image Dice", "margin 1 point", "by seed: +10.00 (1)")
    assert claims_of(material)[0].evidence[2].startswith("95 % interval, which decides: ")
