"""What holds of settings and overrides whatever is typed: a value, or an error for the user."""

from pathlib import Path

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from segcore.ablation import load_ablation, parse_overrides, read_preset
from segcore.config import Layer, Problems, flatten, make_layer, nest, resolve, setting_keys
from segcore.errors import UserError
from segcore.yaml_files import UNSEEN

ABLATION = Path(__file__).parents[1] / "experiments" / "lr_sweep.yaml"
BASE, _ = read_preset("base")
KEYS = setting_keys()
WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=12).filter(
    lambda text: not UNSEEN.search(text)
)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.lists(st.integers(), max_size=3)
# Valid settings of several groups.
VALID = {
    "optimizer.lr": st.floats(1e-9, 10.0),
    "optimizer.weight_decay": st.floats(0.0, 1.0),
    "scheduler.gamma": st.floats(0.01, 1.0),
    "trainer.epochs": st.integers(1, 10**6),
    "data.split_seed": st.integers(0, 2**32 - 1),
    "data.batch_size": st.integers(2, 10**5),
    "loss.name": st.sampled_from(["bce", "dice", "bce_dice"]),
    "data.root": st.from_regex(r"[a-z/]{1,20}", fullmatch=True),
}
SETTINGS = st.fixed_dictionaries({}, optional=VALID)


def as_overrides(settings):
    return [
        f"{key}={yaml.safe_dump(value, default_flow_style=True).split(chr(10))[0]}" for key, value in settings.items()
    ]


@given(st.lists(st.text() | st.builds("{}={}".format, st.sampled_from(KEYS) | WORDS, st.text()), max_size=4))
@example(["=", "a=", "optimizer=1", "optimizer.lr.x=1", "optimizer={lr: 1, x: {y: 2}}"])
@example(["optimizer.lr=" + "[" * 5000])
@example(["data.root=https://me:secret@host: {"])
def test_any_overrides_make_an_ablation_or_an_error_for_the_user(overrides):
    try:
        ablation = load_ablation(ABLATION, overrides=overrides)
    except UserError as error:
        assert str(error).strip()
    else:
        assert ablation.layers[-1].values == parse_overrides(overrides).values


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8))
def test_nested_and_dotted_keys_mean_the_same(settings):
    problems = Problems()
    assert make_layer("test", nest(settings), problems).values == make_layer("test", settings, problems).values
    assert flatten(nest(settings)) == settings
    assert not problems.messages


@given(st.sampled_from(KEYS), VALUES, VALUES)
def test_a_key_that_is_given_nested_and_dotted_is_refused(key, first, second):
    problems = Problems()
    make_layer("test", nest({key: first}) | {key: second}, problems)
    assert problems.messages == [f"test: {key} is given twice, nested and dotted"]


@given(st.lists(SETTINGS, min_size=1, max_size=4))
def test_the_last_layer_that_has_a_setting_wins(layers):
    problems = Problems()
    config = resolve([BASE, *(Layer(f"layer {n}", layer) for n, layer in enumerate(layers))], 1, problems)
    assert config is not None
    wanted = dict(BASE.values)
    for layer in layers:
        wanted |= layer
    assert config.flat() == wanted | {"seed": 1}


@given(SETTINGS)
def test_overrides_come_back_as_they_were_typed(settings):
    assume(all(isinstance(value, str) or value == value for value in settings.values()))
    problems = Problems()
    config = resolve([BASE, parse_overrides(as_overrides(settings))], 1, problems)
    assert config is not None
    assert {key: config.flat()[key] for key in settings} == settings
    again = resolve(
        [Layer("again", {key: value for key, value in config.flat().items() if key != "seed"})], 1, problems
    )
    assert again == config


@given(st.floats(min_value=1e-300, max_value=1e300), st.sampled_from(["{!r}", "{:e}", "{:E}", "{:.3g}", "{:.6f}"]))
def test_a_number_is_the_one_that_was_typed(number, form):
    text = form.format(number)
    assert parse_overrides([f"optimizer.lr={text}"]).values == {"optimizer.lr": float(text)}


@given(WORDS.filter(lambda word: word and word not in KEYS), VALUES)
def test_what_is_no_setting_is_named(word, value):
    problems = Problems()
    resolve([BASE, Layer("test", {word: value})], 1, problems)
    (message,) = problems.messages
    assert message.startswith(f"test: {word} ")


@given(st.sampled_from(KEYS), VALUES)
def test_a_value_is_taken_as_it_is_or_refused_with_its_key(key, value):
    problems = Problems()
    config = resolve([BASE, Layer("test", {key: value})], 1, problems)
    if config is not None and not problems.messages:
        assert config.flat()[key] == value
    else:
        assert all(key in message or "scheduler" in message for message in problems.messages)
        with pytest.raises(UserError):
            problems.raise_any()
