from dataclasses import replace
from pathlib import Path

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
        ({"hypotheses": BEFORE.hypotheses * 2}, ["hypothesis 'fast wins' is new or changed"]),
    ],
)
def test_changes_are_said_in_words(now, changes):
    assert describe_changes(BEFORE, replace(BEFORE, **now)) == changes


def test_hypotheses_of_one_claim_are_told_apart():
    first, second, third = (replace(BEFORE.hypotheses[0], metric=metric) for metric in ("a", "b", "c"))
    before = replace(BEFORE, hypotheses=(first, second, third))
    assert describe_changes(before, before) == []
    assert describe_changes(before, replace(before, hypotheses=(third, first, second))) == []
    changed = replace(before, hypotheses=(first, replace(second, margin=0.1)))
    assert describe_changes(before, changed) == [
        "hypothesis 'fast wins' is new or changed",
        "hypothesis 'fast wins' is gone",
    ]
    assert describe_changes(before, replace(before, hypotheses=(third,))) == ["hypothesis 'fast wins' is gone"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: a\narms: [", "line 2: expected the node content, but found '<stream end>'"),
        ("name: a: b", "line 1: mapping values are not allowed here"),
        ("name: \x01", "unacceptable character #x0001: special characters are not allowed"),
        ("seeds: 2001-99-99", "month must be in 1..12"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_with_line_and_reason(tmp_path, monkeypatch, text, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "above.yaml").write_text("extends: broken.yaml")
    expected = [f"experiments/broken.yaml, which experiments/above.yaml extends, cannot be read: {problem}"]
    if text is not None:
        (tmp_path / "experiments" / "broken.yaml").write_text(text)
        expected.append(f"experiments/broken.yaml cannot be read: {problem}")
    assert read_definitions(Path("experiments")) == ({}, expected)


def test_settings_without_keys_and_circles_are_said(tmp_path):
    (tmp_path / "base.yaml").write_text("settings: fast")
    (tmp_path / "one.yaml").write_text("extends: base.yaml")
    (tmp_path / "two.yaml").write_text("extends: two.yaml")
    problems = read_definitions(tmp_path)[1][1:]
    assert problems[0].endswith("one.yaml is not an ablation that can be read: `settings` holds no keys")
    assert problems[1].endswith("two.yaml: extends goes in a circle")


def test_a_definition_knows_its_file(tmp_path):
    content = {"name": "rates", "title": "Rates", "question": "?", "factor": "loss", "arms": {"a": {}}, "seeds": [1]}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(content))
    files, problems = read_definitions(tmp_path)
    assert problems == []
    assert files["rates"].source == str(tmp_path / "other.yaml")
    assert files["rates"] == replace(files["rates"], source="")
