"""Settings of the suite, as the benchmarks make them."""

from collections.abc import Mapping
from typing import Any

from segcore.ablation import read_preset
from segcore.config import Layer, Problems, RunConfig, resolve

SEED = 42


def make_config(settings: Mapping[str, Any]) -> RunConfig:
    """A run with these settings over the base preset."""
    problems = Problems()
    config = resolve([read_preset("base")[0], Layer("benchmark", dict(settings))], SEED, problems)
    problems.raise_any()
    assert config is not None
    return config
