"""What the report warns of beside a verdict: claims that were fitted to results, networks that learnt nothing."""

import pytest

from analysis.metrics import PRIMARY
from analysis.reporting.content import describe_changed
from analysis.reporting.sections import claims_of
from analysis.reporting.tables import results_table
from analysis.untrained import trivial_dice
from tests.analysis.conftest import changed


def test_runs_no_better_than_calling_every_pixel_pet_are_told(load):
    loss = load("loss")
    dice = trivial_dice(loss.images)
    counts = loss.images[loss.images["seed"] == loss.images["seed"].iloc[0]].drop_duplicates("name")
    pet, pixels = counts["tp"] + counts["fn"], counts[["tp", "fp", "fn", "tn"]].sum(axis=1)
    assert dice == pytest.approx((2 * pet / (pet + pixels)).mean())
    assert results_table(loss).rows[-1][:3] == ("(every pixel pet)", f"{dice:.4f}", "–")
    assert not any("learnt next to nothing" in note for claim in claims_of(loss) for note in claim.notes)
    poor = changed(loss, **{PRIMARY: {("BCE", 43): dice}})
    [note] = [note for claim in claims_of(poor) for note in claim.notes if "learnt next to nothing" in note]
    assert note.startswith(f"BCE (seed 43) has learnt next to nothing: calling every pixel pet reaches {dice:.4f}"[:60])
    assert trivial_dice(loss.images.iloc[:0]) is None


def test_changed_claims_are_told_in_the_summary(load):
    loss = load("loss")
    assert not any("tests no prediction" in sentence for sentence in describe_changed([loss]))
    everywhere = {(arm, int(seed)): "other" for arm, seed in loss.made[["arm", "seed"]].itertuples(index=False)}
    [sentence] = describe_changed([changed(loss, hypotheses=everywhere)])
    assert sentence.startswith("In Loss the claims were changed after runs were begun")
