from dataclasses import replace

import pandas as pd
import pytest

from analysis.definition import Definition, Hypothesis
from analysis.notes import hash_claims, runs_of_other_claims
from analysis.verdicts import judge

CLAIM = Hypothesis("A is faster", "A", "B", "epochs_to_90", 1.0)
ABLATION = Definition("speed", "Speed", "?", ("f",), {"A": {}, "B": {}}, (42, 43), (CLAIM,))


def make_runs(**columns):
    """Two finished seeds of two arms that converge after 3 and 5 epochs."""
    runs = pd.DataFrame(
        {"arm": arm, "seed": seed, "state": "finished", "epochs_to_90": epochs + seed % 2}
        for arm, epochs in (("A", 3.0), ("B", 5.0))
        for seed in (42, 43)
    )
    return runs.assign(**columns)


def notes(runs, definition=ABLATION):
    return judge(definition, runs)[0].notes


def test_claims_that_were_changed_after_runs_were_begun_are_noted_at_every_verdict():
    current, changed = hash_claims(ABLATION), replace(ABLATION, hypotheses=(replace(CLAIM, margin=0.5),))
    runs = make_runs(hypotheses=current)
    assert not any("changed" in note for note in notes(runs))
    [note] = [note for note in notes(runs, changed) if "changed" in note]
    assert "A (seeds 42, 43) and B (seeds 42, 43)" in note
    several = replace(changed, hypotheses=changed.hypotheses * 3)
    assert all(note in verdict.notes for verdict in judge(several, runs))
    assert runs_of_other_claims(changed, runs) == [("A", 42), ("A", 43), ("B", 42), ("B", 43)]


def test_runs_that_were_taken_over_or_do_not_say_count_as_unchanged():
    assert runs_of_other_claims(ABLATION, make_runs(hypotheses="other", reused_from="run")) == []
    assert runs_of_other_claims(ABLATION, make_runs(hypotheses="")) == []
    assert runs_of_other_claims(ABLATION, make_runs(hypotheses=float("nan"))) == []
    assert runs_of_other_claims(ABLATION, make_runs()) == []


@pytest.mark.parametrize(("low", "is_noted"), [(0.80, False), (0.60, True)])
def test_an_easier_goal_is_noted_where_convergence_is_compared(low, is_noted):
    runs = make_runs(**{"val/dice_per_image": [0.85, 0.85, low, low]})
    expected = "B ends at a validation Dice of 0.60, A at 0.85: 90 % of the lower one is the easier goal"
    assert (expected in notes(runs)) == is_noted
