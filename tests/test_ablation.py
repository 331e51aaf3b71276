from pathlib import Path

import pytest

from segcore.ablation import load_ablation, read_preset
from segcore.errors import UserError

EXPERIMENTS = sorted(Path("experiments").glob("*.yaml"))


def refuse(path, **request):
    """The lines of the error that the file, or what is laid over it, causes."""
    with pytest.raises(UserError) as caught:
        load_ablation(path, **request)
    return str(caught.value).splitlines()


def test_the_reports_ablations_are_there():
    names = {
        "architecture",
        "lr_sweep",
        "optimizer",
        "loss",
        "scheduler",
        "precision",
        "augmentation",
        "threshold",
        "best",
    }
    assert {path.stem for path in EXPERIMENTS} == names


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("preset", [None, "demo", "pets64"])
def test_every_ablation_loads_with_every_preset(path, preset):
    ablation = load_ablation(path, preset=preset)
    assert ablation.definition.name == path.stem
    assert ablation.definition.hypotheses
    assert ablation.experiment == (f"{path.stem}-{preset}" if preset else path.stem)
    assert len(ablation.seeds) == (2 if preset == "demo" else 3)


def test_layers_have_the_documented_order(write_ablation, tmp_path):
    write_ablation("parent.yaml", settings={"trainer.epochs": 2, "trainer.clip_norm": 2.0, "data.image_size": 96})
    child = write_ablation("child.yaml", extends="parent.yaml", settings={"trainer.epochs": 3})
    ablation = load_ablation(child, preset="pets64", overrides=["trainer.clip_norm=4"])
    merged = {}
    for layer in ablation.layers:
        merged |= layer.values
    assert merged["trainer.clip_norm"] == 4  # the command line over the parent
    assert merged["data.image_size"] == 64  # the preset over the parent
    assert merged["trainer.epochs"] == 12  # the preset over the child over the parent
    assert [Path(layer.source).stem for layer in ablation.layers] == [
        "base",
        "parent",
        "child",
        "pets64",
        "command line",
    ]


def test_a_child_inherits_what_it_does_not_say(write_ablation, tmp_path):
    write_ablation("parent.yaml")
    child = tmp_path / "child.yaml"
    child.write_text("name: child\nextends: parent.yaml\nseeds: [7]\n")
    ablation = load_ablation(child)
    assert ablation.seeds == (7,)
    assert list(ablation.arms) == ["large", "small"]
    assert ablation.experiment == "child"


def test_seeds_of_the_command_line_win_over_the_presets(write_ablation):
    path = write_ablation()
    assert load_ablation(path).seeds == (1, 2)
    assert load_ablation(path, preset="demo").seeds == (42, 43)
    assert load_ablation(path, preset="demo", seeds=[9]).seeds == (9,)


def test_the_definition_declares_the_presets_seeds_and_not_those_of_one_call(write_ablation):
    path = write_ablation()
    assert load_ablation(path, seeds=[9]).definition.seeds == [1, 2]
    assert load_ablation(path, preset="pets64", seeds=[9]).definition.seeds == [1, 2]
    demo = load_ablation(path, preset="demo", seeds=[9])
    assert (demo.definition.seeds, demo.preset) == ([42, 43], "demo")
    assert load_ablation(path, preset="base").preset is None


def test_a_margin_in_points_is_refused(write_ablation):
    claim = {"claim": "c", "better": "large", "than": "small", "metric": "test/iou_per_image"}
    (problem,) = refuse(write_ablation(hypotheses=[claim | {"margin": 5}]))
    assert problem.endswith("margin = 5 can never be exceeded: Dice and IoU lie between 0 and 1. Half a point is 0.005")
    for allowed in ({"margin": 0.5}, {"margin": 5, "ratio": True}, {"margin": 5, "metric": "train_seconds"}):
        load_ablation(write_ablation(hypotheses=[claim | allowed]))


def test_an_unknown_metric_is_told_in_a_line(write_ablation):
    claim = {"claim": "c", "better": "large", "than": "small", "margin": 1}
    near, far = (
        refuse(write_ablation(hypotheses=[claim | {"metric": metric}]))[0] for metric in ("Test/dice_per_imag", "speed")
    )
    assert near.endswith("is not a metric of a run; did you mean test/dice_per_image? docs/guide.md lists the metrics")
    assert far.endswith("'speed' is not a metric of a run. docs/guide.md lists the metrics")


def test_every_mistake_comes_in_one_message(write_ablation):
    path = write_ablation(
        settings={"optimizer.lrr": 1e-3, "trainer": {"epochs": 0}},
        seeds=[1, 1],
        hypotheses=[{"claim": "c", "better": "lage", "than": "small", "metric": "test/dice", "margin": 0.1}],
    )
    lines = refuse(path, overrides=["data.image_size=big", "optimizer.lr=3"])
    text = "\n".join(lines)
    for part in (
        "optimizer.lrr is not a setting; did you mean optimizer.lr?",
        "trainer.epochs = 0",
        "seeds = [1, 1]: 1 stands more than once",
        "'lage' is not an arm; did you mean large?",
        "metric = 'test/dice' is not a metric",
        "command line: data.image_size = 'big'",
        "command line: optimizer.lr belongs to the factor",
    ):
        assert part in text
    assert len(lines) == 7


def test_an_impossible_setting_is_refused_though_the_preset_replaces_it(write_ablation):
    (problem,) = refuse(write_ablation(settings={"trainer.epochs": -3}), preset="demo")
    assert "trainer.epochs = -3" in problem


def test_a_part_of_the_wrong_kind_does_not_hide_the_other_mistakes(write_ablation):
    claim = {"claim": "c", "better": "large", "than": "small", "metric": "test/dice_per_image", "margin": 0.1}
    path = write_ablation(
        name="my loss!",
        tittle="x",
        settings={"model.nam": "unet"},
        arms={"large": {"optimizer.lr": 0.1, "model.name": "unet"}, "small": {"optimizer.lr": 0.01}},
        seeds=[1, 1],
        hypotheses=[
            claim | {"margin": -1, "than": "smal"},
            claim | {"rato": True, "metric": "test/dise"},
            {"claim": "c", "better": "large", "metric": "test/dice_per_image", "margin": 0.1},
            claim | {"than": "large"},
            "no claim",
        ],
    )
    problems = refuse(path)
    for number, part in enumerate(
        (
            "name = 'my loss!'",
            "hypothesis 1: margin = -1",
            "hypothesis 2: rato is not known here; did you mean ratio?",
            "`better` needs `than`",
            "hypothesis 5 = 'no claim'",
            "tittle is not known here",
            "arms.large: model.name is outside the factor",
            "seeds = [1, 1]",
            "hypothesis 1: 'smal' is not an arm; did you mean small?",
            "hypothesis 2: metric = 'test/dise' is not a metric",
            "hypothesis 4 compares 'large' with itself",
            "model.nam is not a setting",
        ),
        start=1,
    ):
        assert any(part in problem for problem in problems), (number, part, problems)
    assert len(problems) == 12


@pytest.mark.parametrize("arms", [5, ["large", "small"], None, {}])
def test_wrong_arms_and_a_wrong_claim_are_both_told(write_ablation, arms):
    problems = refuse(write_ablation(arms=arms, hypotheses=["no claim"]))
    assert any("arms" in problem for problem in problems) and any("hypothesis 1" in problem for problem in problems)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "name is missing"),
        ({"name": "../up"}, "name = '../up'"),
        ({"tittle": "x"}, "tittle is not known here; did you mean title?"),
        ({"factor": "optimizer.rate"}, "factor = 'optimizer.rate' is no setting"),
        ({"arms": {}}, "at least 1 item"),
        ({"arms": {"s3://me@bucket": {}, "b": {}}}, "arms: 's3://bucket' is written with a user name or a key"),
        ({"arms": {"a": {"model.name": "unet"}, "b": {}}}, "arms.a: model.name is outside the factor 'optimizer.lr'"),
        ({"seeds": []}, "at least 1 item"),
        ({"seeds": [-1]}, "greater than or equal to 0"),
        ({"seeds": ["a"]}, "valid integer"),
        ({"hypotheses": [{"claim": "c", "metric": "test/dice_per_image", "margin": 1}]}, "either `better` and `than`"),
        (
            {"hypotheses": [{"claim": "c", "better": "large", "metric": "test/dice_per_image", "margin": 1}]},
            "`better` needs `than`",
        ),
        (
            {"hypotheses": [{"claim": "c", "same": ["large", "large"], "metric": "test/dice_per_image", "margin": 1}]},
            "with itself",
        ),
        ({"report": {"section": "1", "figures": [{"numbers": [1], "arms": ["huge"]}]}}, "'huge' is not an arm"),
    ],
)
def test_a_malformed_definition_is_refused(write_ablation, changes, message):
    path = write_ablation(**changes)
    lines = refuse(path)
    assert all(line.startswith(str(path)) for line in lines)
    assert message in "\n".join(lines)


def test_extending_a_missing_file_or_in_a_circle_is_refused(write_ablation):
    missing = write_ablation("missing.yaml", extends="absent.yaml")
    assert "extends = absent.yaml: there is no such file" in refuse(missing)[0]
    first = write_ablation("first.yaml", extends="second.yaml")
    write_ablation("second.yaml", extends="first.yaml")
    assert "extends goes in a circle" in refuse(first)[0]


def test_a_preset_that_touches_the_factor_is_refused(write_ablation):
    arms = {"a": {"data.image_size": 32}, "b": {"data.image_size": 64}}
    path = write_ablation(factor="data.image_size", arms=arms, hypotheses=None)
    assert "pets64.yaml: data.image_size belongs to the factor" in refuse(path, preset="pets64")[0]


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="--preset pets46: unknown; did you mean pets64"):
        read_preset("pets46")


def test_a_setting_given_nested_and_dotted_is_refused(write_ablation):
    path = write_ablation(settings={"trainer": {"epochs": 3}, "trainer.epochs": 4})
    assert refuse(path) == [f"{path}: trainer.epochs is given twice, nested and dotted"]


def test_a_malformed_definition_hides_no_misspelt_setting(write_ablation):
    arms = {"a": {"optimizer.learning_rate": 1}, "b": {"optimizer.lr": 2}}
    text = "\n".join(refuse(write_ablation(title=None, arms=arms, settings={"trainer.epoch": 2})))
    for part in ("title is missing", "did you mean optimizer.lr?", "did you mean trainer.epochs?"):
        assert part in text


def test_a_root_that_synthetic_data_would_ignore_is_refused(write_ablation):
    (line,) = refuse(write_ablation(), preset="demo", overrides=["data.root=my_data"])
    assert "data.root = 'my_data' has no effect with data.format = synthetic" in line


def test_a_child_needs_a_name_of_its_own(write_ablation, tmp_path):
    write_ablation("parent.yaml")
    child = tmp_path / "child.yaml"
    child.write_text("extends: parent.yaml\n")
    assert "name is missing" in refuse(child)[0]


def test_a_wrong_preset_hides_no_other_mistake(write_ablation):
    lines = refuse(write_ablation(seeds=[1, 1]), preset="nope", overrides=["trainer.epochs"])
    assert len(lines) == 3


@pytest.mark.parametrize("override", ["trainer.epochs", "=3", "trainer.epochs=[1"])
def test_a_malformed_override_is_refused(write_ablation, override):
    assert "command line" in refuse(write_ablation(), overrides=[override])[0]
