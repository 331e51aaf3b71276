"""An ablation file with everything that a request lays over it: read, merged and checked as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcore.config import LARGEST_SEED, Layer, Problems, check_keys, flatten, make_layer, resolve
from segcore.definition import Definition, in_factor, parse_definition
from segcore.errors import UserError
from segcore.wording import nearest
from segcore.yaml_files import parse_yaml, read_mapping

PRESETS = Path(__file__).resolve().parents[1] / "experiments" / "presets"


@dataclass(frozen=True)
class Ablation:
    """A checked ablation with everything that the request laid over it.

    definition: the file's, with the preset's seeds where the preset sets them.  preset: its name, None for `base`.
    layers: settings common to all arms, in order of precedence (the last one wins); arms: each arm's own layer.
    seeds: those that are asked for, else the definition's.
    """

    definition: Definition
    source: str
    preset: str | None
    experiment: str
    layers: tuple[Layer, ...]
    arms: Mapping[str, Layer]
    seeds: tuple[int, ...]


def load_chain(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The file and those that it extends, the farthest first.  Raises UserError on a missing file or a circle."""
    chain: list[tuple[Path, dict[str, Any]]] = []
    while True:
        if path.resolve() in [seen.resolve() for seen, _ in chain]:
            circle = " -> ".join(str(seen) for seen in [*(seen for seen, _ in chain), path])
            raise UserError(f"{chain[0][0]}: extends goes in a circle: {circle}")
        content = read_mapping(path)
        chain.append((path, content))
        parent = content.get("extends")
        if parent is None:
            return chain[::-1]
        if not isinstance(parent, str):
            raise UserError(f"{path}: extends = {parent!r}: must be the path of an ablation file")
        if not (path.parent / parent).is_file():
            raise UserError(f"{path}: extends = {parent}: there is no such file as {path.parent / parent}")
        path = path.parent / parent


def merge_chain(chain: Sequence[tuple[Path, dict[str, Any]]], problems: Problems) -> tuple[dict[str, Any], list[Layer]]:
    """The definition that the chain amounts to, and a layer of settings for each of its files."""
    merged: dict[str, Any] = {}
    layers = []
    for path, content in chain:
        settings = content.get("settings") or {}
        if isinstance(settings, dict):
            layers.append(make_layer(str(path), settings, problems))
        merged |= content
    path, content = chain[-1]
    if "name" not in content and len(chain) > 1:
        problems.add(str(path), "name is missing: a file that extends another needs a name of its own")
    return merged, layers


def read_preset(name: str) -> tuple[Layer, list[int] | None]:
    """A preset's settings and, if it has any, its seeds.  Raises UserError where it is unknown or malformed."""
    path = relative(PRESETS / f"{name}.yaml")
    choices = sorted(preset.stem for preset in PRESETS.glob("*.yaml"))
    if name not in choices:
        raise UserError(f"--preset {name}: unknown{nearest(name, choices)}; presets are {', '.join(choices)}")
    content = read_mapping(path)
    problems = Problems()
    for key in content:
        if key not in ("description", "settings", "seeds"):
            problems.add(str(path), f"{key} is not known here{nearest(key, ('description', 'settings', 'seeds'))}")
    settings, seeds = content.get("settings") or {}, content.get("seeds")
    if not isinstance(settings, dict):
        problems.add(str(path), f"settings = {settings!r}: must be keys and values")
    if seeds is not None and not is_seed_list(seeds):
        problems.add(
            str(path), f"seeds = {seeds!r}: must be a list of different whole numbers from 0 to {LARGEST_SEED}"
        )
    layer = make_layer(str(path), settings if isinstance(settings, dict) else {}, problems)
    problems.raise_any()
    return layer, seeds


def relative(path: Path) -> Path:
    """The path relative to the current folder where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def is_seed_list(seeds: object) -> bool:
    """A list of at least one seed, none of them twice."""
    return (
        isinstance(seeds, list)
        and bool(seeds)
        and all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= LARGEST_SEED for seed in seeds)
        and len(set(seeds)) == len(seeds)
    )


def parse_overrides(overrides: Sequence[str]) -> Layer:
    """`KEY=VALUE` texts from the command line as a layer; the values are read as YAML.  Raises UserError."""
    values: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UserError(f"command line: {override!r} is neither an ablation file nor KEY=VALUE")
        value = parse_yaml(text, f"command line: {override}") if text.strip() else text
        values |= flatten({key: value})
    return Layer("command line", values)


@dataclass(frozen=True)
class Overlay:
    """What a request lays over an ablation file: a preset, overridden settings, other seeds."""

    preset: str | None
    layers: tuple[Layer, ...]
    preset_seeds: Sequence[int] | None
    seeds: Sequence[int] | None


def read_overlay(
    preset: str | None, overrides: Sequence[str], seeds: Sequence[int] | None, problems: Problems
) -> Overlay:
    """The overlay that the command line asks for; what is wrong with it is noted."""
    preset = None if preset == "base" else preset
    layers: list[Layer] = []
    preset_seeds = None
    try:
        if preset:
            layer, preset_seeds = read_preset(preset)
            layers.append(layer)
    except UserError as error:
        problems.messages.append(str(error))
    try:
        layers.append(parse_overrides(overrides))
    except UserError as error:
        problems.messages.append(str(error))
    if seeds is not None and not is_seed_list(list(seeds)):
        problems.add(
            "command line", f"--seeds {','.join(map(str, seeds))}: must be different whole numbers, 0 to {LARGEST_SEED}"
        )
    return Overlay(preset, tuple(layers), preset_seeds, seeds)


def check_overlay(overlay: Overlay, definition: Definition, path: Path, problems: Problems) -> None:
    """A problem for each overridden setting that belongs to the factor."""
    for layer in overlay.layers:
        for key in layer.values:
            if in_factor(key, definition.factors):
                reason = "it is what the arms differ in, and can't be overridden"
                problems.add(layer.source, f"{key} belongs to the factor of {path}: {reason}")


def load_ablation(
    path: Path, *, preset: str | None = None, overrides: Sequence[str] = (), seeds: Sequence[int] | None = None
) -> Ablation:
    """Read an ablation file with everything laid over it.  Raises UserError with all problems at once."""
    problems = Problems()
    content, layers = merge_chain(load_chain(path), problems)
    definition = parse_definition(content, str(path), problems)
    overlay = read_overlay(preset, overrides, seeds, problems)
    if definition is None:
        arms = content.get("arms")
        arm_layers = [
            make_layer(f"{path}, arm {arm!r}", values, problems)
            for arm, values in (arms.items() if isinstance(arms, dict) else ())
            if isinstance(values, dict)
        ]
        for layer in (*layers, *arm_layers, *overlay.layers):
            check_keys(layer, problems)
        problems.raise_any()
        raise AssertionError("a definition is missing only where there are problems")
    check_overlay(overlay, definition, path, problems)
    base, _ = read_preset("base")
    common = (base, *layers, *overlay.layers)
    arms = {
        arm: make_layer(f"{path}, arm {arm!r}", values, problems) for arm, values in definition.arms.items()
    }  # fmt: skip
    for arm in arms.values():
        # Without what is laid over it too: a preset would hide an impossible value until the run at full size.
        resolve([base, *layers, arm], definition.seeds[0], problems)
        resolve([*common, arm], definition.seeds[0], problems)
    problems.raise_any()
    if overlay.preset_seeds:
        definition = definition.model_copy(update={"seeds": list(overlay.preset_seeds)})
    return Ablation(
        definition=definition,
        source=str(path),
        preset=overlay.preset,
        experiment=f"{definition.name}-{overlay.preset}" if overlay.preset else definition.name,
        layers=common,
        arms=arms,
        seeds=tuple(overlay.seeds or definition.seeds),
    )
