"""The typed settings of one run, and their way from layers of dotted keys to a checked `RunConfig`.

`RunConfig` has no defaults of its own: `experiments/presets/base.yaml` gives every setting once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segcore.errors import UserError
from segcore.wording import DEVICES, explain, nearest

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]

BASE = "experiments/presets/base.yaml"
# Eighteen digits: what databases and tables hold as a whole number.
LARGEST_SEED = 10**18 - 1


class Settings(BaseModel):
    """A group of settings: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSettings(Settings):
    """What is trained and tested on."""

    root: str = Field(min_length=1, description="folder of the dataset: unpacked, or the two official archives")
    format: Literal["pets", "folders", "synthetic"] = Field(description="layout of the folder; synthetic needs none")
    download: bool = Field(description="fetch Oxford-IIIT Pet into data.root when it is not there")
    synthetic_images: int = Field(ge=10, description="number of images that the synthetic dataset has")
    image_size: int = Field(ge=32, description="height and width after resizing, pixels")
    batch_size: int = Field(ge=2, description="training images a step")
    border: Literal["pet", "background", "ignore"] = Field(description="what the trimap's border pixels count as")
    validation_fraction: Fraction = Field(description="share of the training list that validates")
    test_fraction: Fraction = Field(description="share that tests, for data.format folders without lists")
    split_seed: int = Field(ge=0, lt=2**32, description="seed of the split; never follows the run's seed")
    max_skipped_fraction: float = Field(ge=0, le=1, description="share of unreadable items that is tolerated")
    cache_dir: str = Field(min_length=1, description="folder for decoded images, unpacked archives, synthetic data")


class AugmentationSettings(Settings):
    """What happens to training images; image and mask move together."""

    rotation_degrees: float = Field(ge=0, le=180, description="angle uniform in +- this many degrees; 0 is off")
    flip_probability: float = Field(ge=0, le=1, description="probability of a horizontal flip; 0 is off")


class ModelSettings(Settings):
    """The network."""

    name: Literal["unet", "resnet34_unet"] = Field(description="architecture")


class LossSettings(Settings):
    """The training objective."""

    name: Literal["bce", "dice", "bce_dice"] = Field(description="loss on the logits")


class OptimizerSettings(Settings):
    """How gradients become updates."""

    name: Literal["adam", "adamw", "sgd"] = Field(description="optimizer")
    lr: float = Field(gt=0, description="learning rate of the first epoch (after warm-up)")
    weight_decay: float = Field(ge=0, description="decoupled for adamw, an L2 term for adam and sgd")
    momentum: float = Field(ge=0, lt=1, description="sgd only")


class SchedulerSettings(Settings):
    """The learning rate over the epochs."""

    name: Literal["cosine", "exponential", "constant"] = Field(description="scheduler, stepped once an epoch")
    eta_min: float = Field(ge=0, description="learning rate that cosine ends at")
    gamma: float = Field(gt=0, le=1, description="factor an epoch of exponential")
    warmup_epochs: int = Field(ge=0, description="epochs of linear warm-up before the scheduler")


class TrainerSettings(Settings):
    """Length and arithmetic of a training."""

    epochs: Count = Field(description="passes over the training images")
    precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(description="autocast type of a step")
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(description="largest gradient norm; null does not clip")
    compile: Literal["auto"] | bool = Field(description="compile the network; auto: where the training is long enough")


class EvaluationSettings(Settings):
    """How a trained network is tested."""

    batch_size: Literal["auto"] | Count = Field(description="images a step; no metric depends on it")
    threshold: Literal["validation"] | Fraction = Field(description="validation: the best one on validation images")


class ExecutionSettings(Settings):
    """Where a run is computed; none of it changes the result beyond rounding."""

    device: str = Field(pattern=DEVICES, description="auto: CUDA where there is one")
    threads: Literal["auto"] | Count = Field(description="CPU threads of one run; auto: every core")
    gpus_per_run: float = Field(gt=0, le=1, description="share of a GPU that one run takes; half: two runs share one")
    checkpoint_seconds: float = Field(ge=0, description="seconds between two states of a training that are kept")
    timeout_minutes: Annotated[float, Field(gt=0)] | None = Field(
        description="minutes without progress after which a run is ended; null: never"
    )


class RunConfig(Settings):
    """All settings of one run: one arm on one seed."""

    data: DataSettings
    augmentation: AugmentationSettings
    model: ModelSettings
    loss: LossSettings
    optimizer: OptimizerSettings
    scheduler: SchedulerSettings
    trainer: TrainerSettings
    evaluation: EvaluationSettings
    execution: ExecutionSettings
    seed: int = Field(ge=0, le=LARGEST_SEED, description="seed of weights, data order and augmentation")

    def flat(self) -> dict[str, Any]:
        """Every setting under its dotted key."""
        return flatten(self.model_dump())


# Settings that a choice elsewhere switches off: key -> the key that decides and the values that leave it on.
USED_WITH: dict[str, tuple[str, tuple[str, ...]]] = {
    "optimizer.momentum": ("optimizer.name", ("sgd",)),
    "scheduler.eta_min": ("scheduler.name", ("cosine",)),
    "scheduler.gamma": ("scheduler.name", ("exponential",)),
    "data.test_fraction": ("data.format", ("folders",)),
    "data.border": ("data.format", ("pets", "synthetic")),
}


def setting_keys() -> list[str]:
    """The dotted keys of all settings but the seed, in the order of the base preset."""
    return [
        f"{group}.{name}"
        for group, info in RunConfig.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, Settings)
        for name in info.annotation.model_fields
    ]


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to dotted keys; keys that are dotted already mean the same."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of one or two parts to nested mappings."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        group, _, name = key.partition(".")
        if name:
            nested.setdefault(group, {})[name] = value
        else:
            nested[group] = value
    return nested


@dataclass(frozen=True)
class Layer:
    """Settings from one place, under dotted keys; `source` names that place in errors."""

    source: str
    values: Mapping[str, Any]


@dataclass
class Problems:
    """Everything that is wrong with a request, gathered so that the user sees it at once."""

    messages: list[str] = field(default_factory=list)

    def add(self, source: str, message: str) -> None:
        """Note one problem, once, with the file or place that it is in."""
        line = f"{source}: {message}"
        if line not in self.messages:
            self.messages.append(line)

    def raise_any(self) -> None:
        """Raise one `UserError` with all messages, a line each, if there are any."""
        if self.messages:
            raise UserError("\n".join(self.messages))


def make_layer(source: str, nested: Mapping[str, Any], problems: Problems) -> Layer:
    """Nested or dotted settings as a layer; a problem for a setting that is given in both ways."""
    flat = flatten(nested)
    for group, values in nested.items():
        if isinstance(values, Mapping):
            for key in flatten(values, f"{group}."):
                if key in nested:
                    problems.add(source, f"{key} is given twice, nested and dotted")
    return Layer(source, flat)


def check_keys(layer: Layer, problems: Problems) -> dict[str, Any]:
    """The layer's known settings; a problem for each key that is none."""
    known = {}
    keys = setting_keys()
    groups = {key.partition(".")[0] for key in keys}
    for key, value in layer.values.items():
        if key in keys:
            known[key] = value
        elif key == "seed":
            problems.add(layer.source, "seed is not a setting; seeds are listed under `seeds` or given by --seeds")
        elif key in groups:
            problems.add(layer.source, f"{key} = {value!r} is a group of settings, not one; give {key}.NAME")
        else:
            problems.add(layer.source, f"{key} is not a setting{nearest(key, keys)}")
    return known


def resolve(layers: Iterable[Layer], seed: int, problems: Problems) -> RunConfig | None:
    """Layers in order of precedence (the last one wins) to a checked config; None where there were problems."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        known = check_keys(layer, problems)
        values |= known
        sources |= dict.fromkeys(known, layer.source)
    try:
        config = RunConfig.model_validate(nest(values) | {"seed": seed})
    except ValidationError as errors:
        report_invalid(errors, values, sources, problems)
        return None
    check_together(config, sources, problems)
    return config


def report_invalid(
    errors: ValidationError, values: Mapping[str, Any], sources: Mapping[str, str], problems: Problems
) -> None:
    """One problem for each setting that pydantic refused, with the place that set it."""
    messages: dict[str, list[str]] = {}
    for error in errors.errors():
        key = ".".join(str(part) for part in error["loc"][:2])
        messages.setdefault(key, []).append(explain(error, values.get(key)))
    for key, alternatives in messages.items():
        if key in values:
            problems.add(sources[key], f"{key} = {values[key]!r}: {', or '.join(alternatives)}")
        else:
            problems.add(BASE, f"{key} is missing: every setting stands there once")


def check_together(config: RunConfig, sources: Mapping[str, str], problems: Problems) -> None:
    """Rules between settings that are each valid alone."""
    if config.data.format == "synthetic" and sources["data.root"] == "command line":
        problems.add(
            sources["data.root"],
            f"data.root = {config.data.root!r} has no effect with data.format = synthetic: add data.format=pets or "
            "data.format=folders",
        )
    scheduler, epochs = config.scheduler, config.trainer.epochs
    if scheduler.warmup_epochs >= epochs:
        message = f"scheduler.warmup_epochs = {scheduler.warmup_epochs} must be below trainer.epochs = {epochs}"
        problems.add(sources["scheduler.warmup_epochs"], message)
    if scheduler.name == "cosine" and scheduler.eta_min > config.optimizer.lr:
        problems.add(
            sources["scheduler.eta_min"],
            f"scheduler.eta_min = {scheduler.eta_min} must not exceed optimizer.lr = {config.optimizer.lr}, which "
            f"{sources['optimizer.lr']} sets: lower scheduler.eta_min in `settings`",
        )
