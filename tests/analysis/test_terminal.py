import io
import re

import pandas as pd
import pytest
from rich.console import Console

from analysis.definition import Definition, Hypothesis
from analysis.planning import outlook
from analysis.terminal import show_outlooks, show_verdicts
from analysis.verdicts import judge

DICE = "test/dice_per_image"


def define(*hypotheses, seeds=(1, 2, 3)):
    return Definition("small", "Small", "Which?", ("optimizer.lr",), {"a": {}, "b": {}, "c": {}}, seeds, hypotheses)


def claim(first="a", second="b", metric=DICE, margin=0.005, **kind):
    return Hypothesis(f"{first} is better than {second}", first, second, metric, margin, **kind)


def both(num_seeds):
    """So many seeds of every arm."""
    return dict.fromkeys(["a", "b", "c", "[red]a", "[/]"], range(num_seeds))


def finished(**values):
    """Runs of arms with a Dice for each seed from 1."""
    rows = [
        {"arm": arm, "seed": seed, "state": "finished", "reason": "", DICE: dice, "train_seconds": 10.0 + seed}
        for arm, scores in values.items()
        for seed, dice in enumerate(scores, start=1)
    ]
    return pd.DataFrame(rows)


def render(item, width=100, colours=False):
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colours, color_system="standard" if colours else None
    )
    console.print(item)
    return console.file.getvalue()


def words(text):
    """The text without line breaks and columns."""
    return re.sub(r"\s+", " ", text)


def test_each_hypothesis_has_its_verdict_in_its_colour_and_its_sentence():
    runs = finished(a=(0.900, 0.901, 0.902), b=(0.800, 0.802, 0.801), c=(0.85, 0.95, 0.75))
    verdicts = judge(define(claim(), claim("b", "a"), claim("a", "c"), claim("a", "b", same=True)), runs)
    assert [verdict.verdict for verdict in verdicts] == ["supported", "reversed", "inconclusive", "reversed"]
    text = words(render(show_verdicts(verdicts)))
    for verdict in verdicts:
        assert f"{verdict.number} {verdict.verdict} {verdict.sentence}" in text
    coloured = render(show_verdicts(verdicts), colours=True)
    for code, word in (("32", "supported"), ("31", "reversed"), ("33", "inconclusive")):
        assert f"\x1b[{code}m{word}" in coloured


def test_notes_stand_once_with_their_hypotheses():
    runs = finished(a=(0.90, 0.91, 0.92), b=(0.80, 0.81), c=(0.7, 0.71, 0.72))
    runs.loc[len(runs)] = {"arm": "b", "seed": 3, "state": "diverged", "reason": "loss is nan"}
    text = render(show_verdicts(judge(define(claim(), claim("c", "b")), runs)))
    (line,) = (line for line in text.splitlines() if "loss is nan" in line)
    assert line.startswith("Note on 1, 2: b, seed 3")


def test_what_a_sentence_says_is_no_note():
    text = words(render(show_verdicts(judge(define(claim("a", "c")), finished(a=(0.9, 0.9))))))
    assert text.count("c has no finished run") == 1


def test_without_hypotheses_there_is_no_section():
    assert render(show_verdicts([])) == ""


def test_arms_named_like_markup_are_shown_as_they_are():
    hypothesis = claim("[red]a", "[/]")
    runs = finished(**{"[red]a": (0.9, 0.91), "[/]": (0.8, 0.83)})
    text = words(render(show_verdicts(judge(define(hypothesis), runs))))
    assert "[red]a" in text and "[/]" in text
    assert "[red]a is better than [/]" in words(render(show_outlooks(outlook(define(hypothesis), both(2), runs))))


def row(text, number):
    line = next(line for line in text.splitlines() if line.strip().startswith(f"{number}  "))
    return re.split(r"  +", line.strip())


def test_the_outlook_gives_margin_spread_and_what_shows():
    # Differences of a and c, 9, 10 and 11 points, have a standard deviation of 1 point.
    runs = finished(a=(0.89, 0.91, 0.93), c=(0.80, 0.81, 0.82))
    (found,) = outlook(define(claim()), both(3), runs)
    assert found.spread == pytest.approx(1.0)
    text = render(show_outlooks([found]))
    low, high = found.seeds_needed
    assert row(text, 1) == ["1", "a is better than b", "0.5 points", "1.0 points", "3.8 points", f"{low} to {high}"]
    assert "What 3 seeds can show" in text
    assert "Spread: from 3 pairs of finished runs of all arms for hypothesis 1." in text
    warning = "Hypothesis 1 will probably stay open with 3 seeds unless the advantage is 3.8 points or more; "
    assert warning + f"{low} to {high} seeds would settle the margin." in words(text)


def test_ratios_equality_and_the_unknown():
    ratio = claim(metric="train_seconds", margin=1.0, ratio=True)
    seconds = claim(metric="train_seconds", margin=60)
    epochs = claim(metric="epochs_to_90", margin=1)
    found = outlook(define(ratio, claim(same=True), seconds, epochs), both(3), pd.DataFrame())
    text = render(show_outlooks(found))
    assert row(text, 1)[2:4] == ["ratio 2", "5 %"]
    assert row(text, 2)[2:5] == ["0.5 points", "0.2 points", "–"]
    assert row(text, 3)[2:] == ["60 s", "–", "–", "–"]
    assert row(text, 4)[2] == "1 epoch"
    assert "Spread: assumed for hypotheses 1, 2, 4; not known for hypothesis 3." in text
    assert "Hypothesis 2: 3 seeds cannot show that the arms are the same; 5 seeds would." in text
    assert "Hypothesis 3 (a against b, training time): what 3 seeds can show is not known" in words(text)
    assert "Hypothesis 4 will probably stay open" in text


def test_of_a_ratio_the_warning_names_the_ratio():
    # Times of 110, 120 and 100 against 100: the logarithms have a standard deviation of 9 %.
    runs = finished(a=(0.9,) * 3, c=(0.8,) * 3).assign(train_seconds=[110, 120, 100, 100, 100, 100])
    text = render(show_outlooks(outlook(define(claim(metric="train_seconds", margin=0.01, ratio=True)), both(3), runs)))
    *_, smallest, needed = row(text, 1)
    assert smallest.startswith("ratio 1.")
    warning = f"Hypothesis 1 will probably stay open with 3 seeds unless the ratio is {smallest.split()[1]} or more; "
    assert warning + f"{needed} seeds would settle the margin." in words(text)


def test_one_seed_and_an_impossible_arm_are_warned_of():
    definition = define(claim(), claim("a", "c"), claim(same=True, margin=0.0))
    found = outlook(definition, {"a": {1}, "b": {1}, "c": set()}, pd.DataFrame())
    text = words(render(show_outlooks(found)))
    assert "What the seeds can show" in text
    assert "Hypothesis 1 (a against b, test per-image Dice): one seed decides nothing; 4 seeds would do." in text
    assert "c will have no run, so nothing can be compared." in text
    assert "Hypothesis 3" in text


def test_unequal_numbers_of_seeds_have_a_column():
    found = outlook(define(claim(), claim("a", "c")), {"a": {1, 2, 3}, "b": {1, 2, 3}, "c": {2, 3, 4}}, pd.DataFrame())
    text = render(show_outlooks(found))
    assert row(text, 1)[2:4] == ["3", "0.5 points"]
    assert row(text, 2)[2:4] == ["2", "0.5 points"]


def test_what_is_settled_is_no_warning_but_a_line():
    runs = finished(a=(0.890, 0.910, 0.931), b=(0.80, 0.81, 0.82))
    text = render(show_outlooks(outlook(define(claim(margin=0.001)), both(3), runs)))
    assert "Settled by finished runs: 1 supported (3 seeds)." in text
    assert "Hypothesis" not in text


def test_a_difference_that_cannot_be_is_not_asked_for():
    runs = finished(a=(0.1, 0.9), c=(0.9, 0.2))
    text = render(show_outlooks(outlook(define(claim()), both(2), runs)))
    assert row(text, 1)[4] == "none"
    assert "Hypothesis 1: no difference can show with 2 seeds; more than 1000 seeds would settle the margin." in words(
        text
    )


def test_seeds_that_are_enough_are_no_warning():
    runs = finished(a=(0.8801, 0.8902, 0.9003), c=(0.80, 0.81, 0.82))
    text = render(show_outlooks(outlook(define(claim()), both(10), runs)))
    assert "Hypothesis" not in text


def test_nothing_claimed_is_said():
    assert "No hypothesis is declared" in render(show_outlooks([]))


@pytest.mark.parametrize("width", [80, 200])
def test_no_line_is_wider_than_the_terminal(width):
    runs = finished(a=(0.89, 0.91, 0.93), b=(0.80, 0.81, 0.82))
    definition = define(claim(), claim("b", "a"))
    for item in (show_outlooks(outlook(definition, both(3), runs)), show_verdicts(judge(definition, runs))):
        assert max(map(len, render(item, width).splitlines())) <= width
