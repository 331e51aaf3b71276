from typing import get_args

import pytest

from segcore.ablation import read_preset
from segcore.config import (
    USED_WITH,
    Layer,
    LossSettings,
    ModelSettings,
    OptimizerSettings,
    Problems,
    RunConfig,
    SchedulerSettings,
    flatten,
    nest,
    resolve,
    setting_keys,
)
from segcore.losses import LOSSES
from segcore.models import MODELS
from segcore.optim import OPTIMIZERS, SCHEDULERS


def resolve_with(**settings: object) -> tuple[RunConfig | None, list[str]]:
    base, _ = read_preset("base")
    problems = Problems()
    config = resolve([base, Layer("here", {key.replace("__", "."): v for key, v in settings.items()})], 42, problems)
    return config, problems.messages


@pytest.mark.parametrize(
    ("settings", "registry"),
    [(ModelSettings, MODELS), (LossSettings, LOSSES), (OptimizerSettings, OPTIMIZERS), (SchedulerSettings, SCHEDULERS)],
)
def test_the_names_that_settings_allow_are_those_that_there_are(settings, registry):
    assert set(get_args(settings.model_fields["name"].annotation)) == set(registry)


def test_the_base_preset_gives_every_setting_once():
    base, seeds = read_preset("base")
    assert list(base.values) == setting_keys()
    assert seeds is None


def test_nested_and_dotted_keys_mean_the_same():
    nested = {"optimizer": {"name": "sgd", "lr": 0.1}, "scheduler.gamma": 0.9}
    assert flatten(nested) == {"optimizer.name": "sgd", "optimizer.lr": 0.1, "scheduler.gamma": 0.9}
    assert nest(flatten(nested)) == {"optimizer": {"name": "sgd", "lr": 0.1}, "scheduler": {"gamma": 0.9}}


def test_flat_and_back_is_the_same_config(make_config):
    config = make_config(optimizer__lr=0.5)
    assert RunConfig.model_validate(nest(config.flat())) == config


def test_later_layers_win():
    base, _ = read_preset("base")
    layers = [base, Layer("first", {"optimizer.lr": 0.1, "trainer.epochs": 7}), Layer("second", {"optimizer.lr": 0.2})]
    config = resolve(layers, 1, Problems())
    assert config is not None
    assert (config.optimizer.lr, config.trainer.epochs) == (0.2, 7)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("trainer.epochs", 0, "greater than or equal to 1"),
        ("trainer.epochs", -3, "greater than or equal to 1"),
        ("trainer.epochs", 2.5, "integer"),
        ("trainer.epochs", True, "integer"),
        ("trainer.epochs", "twenty", "integer"),
        ("data.batch_size", 1, "greater than or equal to 2"),
        ("data.image_size", 16, "greater than or equal to 32"),
        ("optimizer.lr", 0, "greater than 0"),
        ("optimizer.lr", -0.1, "greater than 0"),
        ("optimizer.lr", float("nan"), "finite"),
        ("optimizer.lr", "fast", "number"),
        ("model.name", "unnet", "did you mean unet"),
        ("loss.name", "bce-dice", "did you mean bce_dice"),
        ("optimizer.name", "adamm", "did you mean adam"),
        ("scheduler.name", "cosin", "did you mean cosine"),
        ("execution.device", "gpu", "must be auto, cpu, cuda, or the number"),
        ("evaluation.threshold", 1.5, "less than 1"),
        ("data.root", "", "at least 1 character"),
        ("trainer.clip_norm", 0, "greater than 0"),
        ("data.root", None, "string"),
    ],
)
def test_an_impossible_value_is_refused_with_its_place_key_and_value(key, value, message):
    config, messages = resolve_with(**{key: value})
    assert config is None
    assert len(messages) == 1
    assert messages[0].startswith(f"here: {key} = {value!r}: ")
    assert message in messages[0]


def test_unknown_keys_come_all_at_once_with_the_nearest_spelling():
    _, messages = resolve_with(
        **{"optimizer.lrr": 1, "trainer.epoch": 2, "epochs": 3, "quux.z": 4, "optimizer": 5, "seed": 6}
    )
    assert messages == [
        "here: optimizer.lrr is not a setting; did you mean optimizer.lr?",
        "here: trainer.epoch is not a setting; did you mean trainer.epochs?",
        "here: epochs is not a setting; did you mean trainer.epochs?",
        "here: quux.z is not a setting",
        "here: optimizer = 5 is a group of settings, not one; give optimizer.NAME",
        "here: seed is not a setting; seeds are listed under `seeds` or given by --seeds",
    ]


def test_settings_that_exclude_each_other_are_refused():
    _, messages = resolve_with(scheduler__warmup_epochs=5, trainer__epochs=5, optimizer__lr=1e-6)
    assert messages == [
        "here: scheduler.warmup_epochs = 5 must be below trainer.epochs = 5",
        "experiments/presets/base.yaml: scheduler.eta_min = 1e-05 must not exceed optimizer.lr = 1e-06, which here "
        "sets: lower scheduler.eta_min in `settings`",
    ]


def test_settings_that_are_sometimes_unused_exist():
    for key, (decides, values) in USED_WITH.items():
        group, name = decides.split(".")
        allowed = get_args(RunConfig.model_fields[group].annotation.model_fields[name].annotation)
        assert {key, decides} <= set(setting_keys())
        assert set(values) <= set(allowed)
