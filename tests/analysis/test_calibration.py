import numpy as np
import pandas as pd
import pytest

from analysis import calibration
from analysis.calibration import BEGIN, END, Setting, disagreements, simulate, simulate_images, write_between_markers
from analysis.calibration_tables import broken_promises, by_noise, markdown
from analysis.simulation import KINDS, Claims, draw_claims, draw_differences, is_false

KEPT = {
    "kind": 0,
    "seeds": 3,
    "hypotheses": 2,
    "false, truth at margin": 0.05,
    "false, truth at zero": 0.0,
    "false, truth at anywhere": 0.01,
    "coverage": 0.95,
    "power": 0.8,
    "equality": 0.0,
    "range": 0.55,
}


@pytest.fixture
def generator():
    return np.random.default_rng(3)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_noise_has_the_mean_and_spread_that_it_claims(generator, kind):
    truth = np.array([[0.0, 20.0]])
    differences = draw_differences(kind, truth, 200_000, generator)
    assert differences.shape == (1, 2, 200_000)
    assert differences.mean(axis=-1) == pytest.approx(truth, abs=0.05)
    assert differences.std(axis=-1) == pytest.approx(kind.spread, rel=0.05)


def test_hypotheses_share_the_noise_of_an_arm(generator):
    differences = draw_differences(KINDS[0], np.zeros((1, 2)), 100_000, generator)[0]
    assert np.corrcoef(differences)[0, 1] == pytest.approx(0.5, abs=0.01)


def test_false_is_what_says_more_than_is_true():
    #              above it   on it   within  below     on it
    truth = np.array([2.0, 1.0, 0.5, -2.0, -1.0])
    better = Claims(truth, np.ones(5), np.zeros(5, bool))
    same = Claims(truth, np.ones(5), np.ones(5, bool))
    cases = [
        ("supported", better, [False, True, True, True, True]),
        ("reversed", better, [True, True, True, False, True]),
        ("equivalent", better, [True, True, False, True, True]),
        ("inconclusive", better, [False] * 5),
        ("supported", same, [True, True, False, True, True]),
        ("reversed", same, [False, True, True, False, True]),
    ]
    for verdict, claims, expected in cases:
        assert list(is_false(np.array([verdict] * 5), claims)) == expected


def test_claims_lie_where_they_should(generator):
    on_margin = draw_claims("margin", 2.0, (1000, 3), generator)
    assert (np.abs(on_margin.truth) == on_margin.margin).all()
    assert on_margin.margin.min() >= 2 and on_margin.margin.max() <= 600
    assert not draw_claims("zero", 2.0, (10, 3), generator).truth.any()
    assert 0 < draw_claims("anywhere", 2.0, (1000, 1), generator).same.mean() < 1


def test_normal_noise_keeps_its_promises():
    figures = pd.DataFrame(simulate(Setting(0, seeds, claims, 4000, 1)) for seeds in (2, 3, 10) for claims in (1, 6))
    assert broken_promises(figures, 4000) == []
    assert figures["false, truth at margin"].min() > 0.03  # the worst place is one
    assert figures["range"].between(0.45, 0.7).all()


def test_a_false_interval_is_found_out(monkeypatch):
    """Were the interval that of a normal distribution, three seeds would not keep the promises."""
    monkeypatch.setattr(calibration.statistics.stats.t, "isf", lambda tail, freedom: 2.0 + 0 * freedom)
    figures = pd.DataFrame([simulate(Setting(0, 3, 1, 2000, 1))])
    problems = broken_promises(figures, 2000)
    assert any("false verdicts in" in problem for problem in problems)
    assert any("coverage is" in problem for problem in problems)


def test_the_same_seed_gives_the_same_figures():
    assert simulate(Setting(3, 4, 2, 300, 5)) == simulate(Setting(3, 4, 2, 300, 5))
    assert simulate(Setting(3, 4, 2, 300, 5)) != simulate(Setting(3, 4, 2, 300, 6))


def test_rounding_is_what_makes_whole_numbers_safe():
    names = [kind.name for kind in KINDS]
    safe, bare = (
        simulate(Setting(names.index(name), 3, 6, 1000, 1))["false, truth at margin"]
        for name in ("whole numbers", "whole numbers, their spread taken as it is")
    )
    assert safe < 0.05 < 0.3 < bare


def test_judge_agrees_with_the_vectorised_functions():
    assert disagreements(20, 0) == 0


def test_judge_is_not_compared_with_itself(monkeypatch):
    monkeypatch.setattr(calibration.statistics, "ALPHA", 0.2)
    monkeypatch.setattr(calibration, "judge", lambda definition, runs: [])
    assert disagreements(5, 0) == 5


def test_bootstraps_over_few_seeds_are_too_narrow():
    over_images, over_both = simulate_images(3, 1.0, 60, 0)
    assert over_images > 0.85
    assert over_both < 0.92


@pytest.mark.parametrize(
    ("figure", "value", "words"),
    [
        (
            "false, truth at margin",
            0.07,
            "normal, 3 seeds: false, truth at margin: false verdicts in 7.00 % of ablations",
        ),
        ("coverage", 0.93, "normal, 3 seeds: coverage is -2.0 points off"),
        ("power", 0.86, "normal, 3 seeds: power is 6.0 points off"),
        ("equality", -0.06, "normal, 3 seeds: equality is -6.0 points off"),
    ],
)
def test_a_broken_promise_has_a_sentence(figure, value, words):
    assert broken_promises(pd.DataFrame([KEPT]), 10_000) == []
    problems = broken_promises(pd.DataFrame([KEPT | {figure: value}]), 10_000)
    assert any(problem.startswith(words) for problem in problems)


def test_skewed_noise_is_reported_and_not_bounded():
    skewed = [kind.name for kind in KINDS].index("exponential in one arm")
    assert broken_promises(pd.DataFrame([KEPT | {"kind": skewed, "coverage": 0.5}]), 10_000) == []


def test_tables_have_a_row_a_noise_and_a_column_a_number_of_seeds():
    figures = pd.DataFrame([KEPT, KEPT | {"hypotheses": 1, "coverage": 0.94}, KEPT | {"seeds": 10}])
    assert by_noise(figures, "coverage").splitlines() == [
        "| noise \\ seeds | 3 | 10 |",
        "| --- | ---: | ---: |",
        "| normal | 94.5 | 95.0 |",
    ]
    images = pd.DataFrame({"seeds": [3, 3], "image_spread": [12.0, 1.0], "images": [0.95, 0.94], "both": [0.96, 0.7]})
    text = markdown(figures, images, "the command", 1000, 12.3)
    assert "`the command`: 3 settings of 1,000 ablations" in text
    assert "| over seeds and images, where seeds alone matter | 70.0 |" in text


def test_every_setting_is_simulated_once(monkeypatch):
    monkeypatch.setattr(calibration, "SEEDS", (2, 3))
    monkeypatch.setattr(calibration, "HYPOTHESES", (1,))
    monkeypatch.setattr(calibration, "BOOTSTRAP_SEEDS", (2, 5))
    monkeypatch.setattr(calibration, "MOST_BOOTSTRAPS", 3)
    figures, images = calibration.calibrate(50, 0)
    assert sorted(zip(figures["kind"], figures["seeds"], strict=True)) == [
        (kind, seeds) for kind in range(len(KINDS)) for seeds in (2, 3)
    ]
    assert list(zip(images["seeds"], images["image_spread"], strict=True)) == [(2, 12), (2, 1), (5, 12), (5, 1)]
    assert figures.loc[0].to_dict() == simulate(Setting(0, 2, 1, 50, 0))


def test_only_what_stands_between_the_markers_is_replaced(tmp_path):
    path = tmp_path / "statistics.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between_markers(path, "new")
    assert path.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    path.write_text("no markers")
    with pytest.raises(ValueError, match="has no lines"):
        write_between_markers(path, "new")


def test_the_command_writes_the_table_and_tells_by_its_status(tmp_path, monkeypatch, capsys):
    figures = pd.DataFrame([KEPT])
    images = pd.DataFrame({"seeds": [3, 3], "image_spread": [12.0, 1.0], "images": [0.95] * 2, "both": [0.96] * 2})
    monkeypatch.setattr(calibration, "calibrate", lambda num_ablations, seed: (figures, images))
    monkeypatch.setattr(calibration, "disagreements", lambda num_ablations, seed: 0)
    path = tmp_path / "statistics.md"
    path.write_text(f"{BEGIN}\n{END}\n")
    assert calibration.main(["--ablations", "5000", "--seed", "7", "--output", str(path)]) == 0
    assert "--ablations 5000 --seed 7" in path.read_text()
    assert "All promises are kept." in capsys.readouterr().err
    assert calibration.main(["--output", str(tmp_path / "none.md")]) == 2
    monkeypatch.setattr(calibration, "disagreements", lambda num_ablations, seed: 3)
    assert calibration.main([]) == 1
    assert "differ in 3 of 200 ablations" in capsys.readouterr().err


def test_too_few_ablations_are_refused(capsys):
    with pytest.raises(SystemExit) as ending:
        calibration.main(["--ablations", "10"])
    assert ending.value.code == 2
    assert "--ablations is 200 or more" in capsys.readouterr().err
