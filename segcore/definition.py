"""The content of an ablation file: a question, the factor, its arms, the seeds and the hypotheses, with their rules."""

import copy
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from segcore.config import LARGEST_SEED, Problems, flatten, setting_keys
from segcore.credentials import without_credentials
from segcore.wording import NAMES, explain, nearest

# Every metric that a hypothesis may name, and which direction is better.
METRICS: dict[str, Literal["higher", "lower"]] = {
    **{
        f"{where}/{metric}": "higher"
        for where in ("test", "test_at_0.4", "test_at_0.5")
        for metric in ("dice_per_image", "dice_dataset", "iou_per_image", "iou_dataset")
    },
    "test_at_0.4/dice_batch": "higher",
    "val/dice_per_image": "higher",
    "val/dice_dataset": "higher",
    "val/dice_batch_soft": "higher",
    "val/loss": "lower",
    "train/loss": "lower",
    "val/dice_variation": "lower",
    "epochs_to_90": "lower",
    "train_seconds": "lower",
    "epoch_seconds": "lower",
    "images_per_second": "higher",
    "peak_memory_gib": "lower",
    "parameters": "lower",
    "gflops": "lower",
}

# What stands for a wrong part of a file, and of a hypothesis, while the rest is checked.
STAND_INS: dict[str, Any] = {"name": "unnamed", "title": "untitled", "question": "?", "seeds": [0]}
CLAIM_STAND_INS: dict[str, Any] = {"claim": "?", "metric": "train/loss", "margin": 0.0, "ratio": False}

MOST_ROUNDS = 3

Name = Annotated[str, Field(pattern=NAMES, max_length=100)]
ArmName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


class Part(BaseModel):
    """A part of an ablation file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Figure(Part):
    """A pair of the report's figures, loss and Dice, and the arms that they show."""

    numbers: list[int] = Field(min_length=1)
    arms: list[str] = Field(min_length=1)


class ReportReference(Part):
    """Where the report treats the question."""

    section: str
    figures: list[Figure] = []


class Hypothesis(Part):
    """A claim about two arms: one is better than the other by more than the margin, or both are the same within it."""

    claim: str = Field(min_length=1)
    better: str | None = None
    than: str | None = None
    same: list[str] | None = Field(default=None, min_length=2, max_length=2)
    metric: str = Field(description="a metric that every run has; its direction comes from the table of metrics")
    margin: float = Field(
        ge=0,
        description="in the metric's unit, of Dice and IoU from 0 to 1 (0.005: half a point); with ratio, the "
        "fraction by which it differs from 1",
    )
    ratio: bool = False

    @model_validator(mode="after")
    def one_kind(self) -> Self:
        """Either `better` and `than`, or `same`."""
        if (self.same is None) == (self.better is None and self.than is None):
            raise ValueError("give either `better` and `than`, or `same: [A, B]`")
        if self.same is None and (self.better is None or self.than is None):
            raise ValueError("`better` needs `than`, and the other way round")
        return self

    @property
    def arms(self) -> list[str]:
        """The two arms that are compared."""
        return self.same or [arm for arm in (self.better, self.than) if arm]


class Definition(Part):
    """The content of an ablation file."""

    name: Name
    title: str = Field(min_length=1)
    question: str = Field(min_length=1)
    report: ReportReference | None = None
    extends: str | None = Field(default=None, description="an ablation file to start from, relative to this one")
    settings: dict[str, Any] = {}
    factor: str | list[str] = Field(description="the settings, or groups of settings, that differ between arms")
    arms: dict[ArmName, dict[str, Any]] = Field(min_length=1)
    seeds: list[Seed] = Field(min_length=1)
    hypotheses: list[Hypothesis] = []

    @property
    def factors(self) -> list[str]:
        """The factor as a list of setting keys or groups."""
        return [self.factor] if isinstance(self.factor, str) else self.factor


def is_overlap(metric: str) -> bool:
    """Whether a metric is a Dice or an IoU, or a difference of those: a number from 0 to 1, shown in points."""
    return any(part in metric for part in ("dice", "iou"))


def in_factor(key: str, factors: Sequence[str]) -> bool:
    """Whether a setting is the factor or below it."""
    return any(key == factor or key.startswith(f"{factor}.") for factor in factors)


def parse_definition(content: dict[str, Any], source: str, problems: Problems) -> Definition | None:
    """The typed definition; what is wrong with it is all noted.

    Where parts of it are wrong, the definition with harmless ones in their place, so that everything else is checked
    along with them; None where too little is left.
    """
    # Each round puts something harmless in place of what is wrong; then the rules between the rest can be checked.
    for _ in range(MOST_ROUNDS):
        try:
            definition = Definition.model_validate(content)
        except ValidationError as errors:
            note_errors(errors, source, problems)
            content = without_wrong_parts(content, errors)
        else:
            check_definition(definition, source, problems)
            return definition
    return None


def note_errors(errors: ValidationError, source: str, problems: Problems) -> None:
    """A problem for each part that is unknown, missing or of the wrong kind."""
    for error in errors.errors():
        where = name_place(error["loc"])
        if error["type"] == "extra_forbidden":
            fields = Hypothesis.model_fields if error["loc"][0] == "hypotheses" else Definition.model_fields
            problems.add(source, f"{where} is not known here{nearest(str(error['loc'][-1]), fields)}")
        elif error["type"] == "missing":
            problems.add(source, f"{where} is missing")
        elif error["type"] == "value_error":
            problems.add(source, f"{where}: {error['ctx']['error']}")
        else:
            problems.add(source, f"{where} = {error['input']!r}: {explain(error, error['input'])}")


def name_place(location: Sequence[str | int]) -> str:
    """Where something is wrong: `report.figures`, `hypothesis 1: margin`, counted as readers count."""
    parts = [part for part in location if part not in ("str", "list[str]")]
    if parts[0] == "hypotheses" and len(parts) > 1:
        hypothesis = f"hypothesis {int(parts[1]) + 1}"
        return ": ".join([hypothesis, ".".join(map(str, parts[2:]))]) if parts[2:] else hypothesis
    return ".".join(map(str, parts))


def without_wrong_parts(content: dict[str, Any], errors: ValidationError) -> dict[str, Any]:
    """The content with something harmless in place of each part that is wrong."""
    left = copy.deepcopy(content)
    for error in errors.errors():
        key, *below = error["loc"]
        if key == "hypotheses" and below:
            mend_hypothesis(left, int(below[0]), str(below[1]) if len(below) > 1 else "")
        elif key in STAND_INS:
            left[key] = STAND_INS[key]
        else:
            left.pop(str(key), None)
    return left


def mend_hypothesis(content: dict[str, Any], position: int, key: str) -> None:
    """Put something harmless in place of a wrong key of a hypothesis, or of all of it; others keep their numbers."""
    hypothesis, arms = content["hypotheses"][position], content.get("arms")
    names = list(arms) if isinstance(arms, dict) else []
    if isinstance(hypothesis, dict) and key in CLAIM_STAND_INS:
        hypothesis[key] = CLAIM_STAND_INS[key]
    elif isinstance(hypothesis, dict) and key and key not in Hypothesis.model_fields:
        hypothesis.pop(key, None)
    else:
        content["hypotheses"][position] = CLAIM_STAND_INS | {"better": names[0], "than": names[-1]} if names else {}


def check_definition(definition: Definition, source: str, problems: Problems) -> None:
    """Rules between the parts of a definition: factor, arms, seeds, hypotheses."""
    keys = setting_keys()
    for factor in definition.factors:
        if not any(in_factor(key, [factor]) for key in keys):
            problems.add(source, f"factor = {factor!r} is no setting and no group of settings{nearest(factor, keys)}")
    for arm, settings in definition.arms.items():
        if without_credentials(arm) != arm:
            message = f"arms: {arm!r} is written with a user name or a key of an address; these are left out of what "
            problems.add(source, message + "goes to MLflow, where the arm would not be found again: rename it")
        for key in flatten(settings):
            if key in keys and not in_factor(key, definition.factors):
                message = f"arms.{arm}: {key} is outside the factor {definition.factor!r}; arms may differ only in "
                problems.add(source, message + "the factor: move it to `settings`, or widen `factor`")
    duplicates = sorted({seed for seed in definition.seeds if definition.seeds.count(seed) > 1})
    if duplicates:
        problems.add(source, f"seeds = {definition.seeds}: {', '.join(map(str, duplicates))} stands more than once")
    figures = definition.report.figures if definition.report else []
    for number, hypothesis in enumerate(definition.hypotheses, start=1):
        check_arms(f"hypothesis {number}", hypothesis.arms, definition, source, problems)
        if len(set(hypothesis.arms)) == 1:
            problems.add(source, f"hypothesis {number} compares {hypothesis.arms[0]!r} with itself")
        if hypothesis.metric not in METRICS:
            message = f"hypothesis {number}: metric = {hypothesis.metric!r} is not a metric of a run"
            near = nearest(hypothesis.metric, METRICS) or "."
            problems.add(source, f"{message}{near} docs/guide.md lists the metrics")
        elif is_overlap(hypothesis.metric) and hypothesis.margin >= 1 and not hypothesis.ratio:
            message = f"hypothesis {number}: margin = {hypothesis.margin:g} can never be exceeded"
            problems.add(source, f"{message}: Dice and IoU lie between 0 and 1. Half a point is 0.005")
    for figure in figures:
        check_arms(f"report.figures {figure.numbers}", figure.arms, definition, source, problems)


def check_arms(where: str, arms: Sequence[str], definition: Definition, source: str, problems: Problems) -> None:
    """A problem for each name that is no arm."""
    for arm in arms:
        if arm not in definition.arms:
            choices = ", ".join(definition.arms)
            problems.add(source, f"{where}: {arm!r} is not an arm{nearest(arm, definition.arms)}; arms are {choices}")
