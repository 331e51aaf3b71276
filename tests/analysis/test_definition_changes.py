from dataclasses import replace

import pytest
import yaml

from analysis.definition import Definition, Hypothesis, ReportFigure, describe_changes, read_definitions

BEFORE = Definition(
    name="rates",
    title="Rates",
    question="Is fast better?",
    factors=("optimizer.lr",),
    arms={"slow": {"optimizer.lr": 1e-4}, "fast": {"optimizer.lr": 1e-3}},
    seeds=(42, 43, 44),
    hypotheses=(Hypothesis("fast wins", "fast", "slow", "test/dice_per_image", 0.01),),
    section="3.2",
    figures=(ReportFigure((6, 7), ("fast", "slow")), ReportFigure((8,), ("fast",))),
    settings={"loss.name": "bce", "trainer.epochs": 12},
)


@pytest.mark.parametrize(
    ("now", "changes"),
    [
        ({"source": "experiments/rates.yaml"}, []),
        ({"question": "Which\n is?"}, ["question: 'Is fast better?' became 'Which is?'"]),
        ({"factors": ("optimizer", "loss")}, ["factor: optimizer.lr became optimizer and loss"]),
        ({"seeds": (42, 43)}, ["seeds: 42, 43 and 44 became 42 and 43"]),
        ({"section": None}, ["section of the report: 3.2 became none"]),
        (
            {"figures": BEFORE.figures[:1]},
            ["figures of the report: 6 and 7 of fast and slow; 8 of fast became 6 and 7 of fast and slow"],
        ),
        (
            {"settings": {"loss.name": "dice", "data.download": True}},
            [
                "settings: loss.name bce became dice",
                "settings: trainer.epochs = 12 is gone",
                "settings: data.download = true is new",
            ],
        ),
        (
            {"arms": {"slow": {"optimizer.lr": 1e-2}, "faster": {}}},
            ["arm 'slow': optimizer.lr 1e-4 became 0.01", "arm 'fast' is gone", "arm 'faster' is new"],
        ),
        (
            {"hypotheses": (replace(BEFORE.hypotheses[0], margin=0.1),)},
            ["hypothesis 'fast wins' is new or changed"],
        ),
        ({"hypotheses": ()}, ["hypothesis 'fast wins' is gone"]),
    ],
)
def test_changes_are_said_in_words(now, changes):
    assert describe_changes(BEFORE, replace(BEFORE, **now)) == changes


def test_a_definition_knows_its_file(tmp_path):
    content = {"name": "rates", "title": "Rates", "question": "?", "factor": "loss", "arms": {"a": {}}, "seeds": [1]}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(content))
    files, problems = read_definitions(tmp_path)
    assert problems == []
    assert files["rates"].source == str(tmp_path / "other.yaml")
    assert files["rates"] == replace(files["rates"], source="")
