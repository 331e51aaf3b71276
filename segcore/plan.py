"""What an ablation expands to: arms x seeds with their settings, fingerprints and what stands in the way of a run."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from segcore.ablation import Ablation
from segcore.config import USED_WITH, Problems, RunConfig, resolve
from segcore.definition import in_factor
from segcore.wording import nearest

# Raised when the meaning of a setting changes, so that older runs are not taken for new ones.
RECIPE_VERSION = 1

# Where and how a run is computed, or how its data is found: none of it changes the result beyond rounding.
WITHOUT_EFFECT = (
    "execution",
    "evaluation.batch_size",
    "trainer.compile",
    "data.root",
    "data.format",
    "data.download",
    "data.synthetic_images",
    "data.max_skipped_fraction",
    "data.cache_dir",
)


@dataclass(frozen=True)
class Facts:
    """What settings alone do not tell: the data's content, the precision that `auto` means, and why a run can't be."""

    data_fingerprint: str
    precision: str
    unavailable: str | None = None


@dataclass(frozen=True)
class Run:
    """One arm on one seed.

    fingerprint: of everything that can change the result; training_fingerprint: the same without the evaluation,
    so that runs that differ only there share one training; data_fingerprint: of the data's content;
    unavailable: why this machine cannot run it, or None.
    """

    arm: str
    seed: int
    config: RunConfig
    fingerprint: str
    training_fingerprint: str
    data_fingerprint: str
    unavailable: str | None

    @property
    def name(self) -> str:
        """How the run is called in MLflow and on the terminal."""
        return f"{self.arm}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """The runs of an ablation: all arms of the first seed, then all of the next, so that a part can be compared.

    plan: hash of what all runs have in common; only runs of one plan are comparable.
    runs: those that are asked for.  arms: settings and facts of every arm, also of those that are not asked for.
    differences: for each arm the settings of the factor that differ between arms.
    """

    ablation: Ablation
    plan: str
    runs: tuple[Run, ...]
    arms: Mapping[str, tuple[RunConfig, Facts]]
    differences: dict[str, dict[str, Any]]

    def runs_of(self, seeds: Iterable[int]) -> list[Run]:
        """All arms on these seeds, seed by seed."""
        return [
            make_run(arm, config.model_copy(update={"seed": seed}), facts)
            for seed in seeds
            for arm, (config, facts) in self.arms.items()
        ]


def digest(content: object) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the content's canonical JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def expand(ablation: Ablation, facts: Callable[[RunConfig], Facts], only: Sequence[str] = ()) -> Plan:
    """All runs of an ablation, or those of the arms in `only`.

    facts: looked up once for each arm.  Raises UserError with every problem of every arm at once.
    """
    problems = Problems()
    configs = {
        arm: resolve([*ablation.layers, layer], ablation.seeds[0], problems) for arm, layer in ablation.arms.items()
    }
    for arm in only:
        if arm not in configs:
            choices = ", ".join(configs)
            problems.add("command line", f"--only {arm!r} is not an arm{nearest(arm, configs)}; arms are {choices}")
    problems.raise_any()
    checked = {arm: config for arm, config in configs.items() if config is not None}
    arms = {arm: (config, facts(config)) for arm, config in checked.items()}
    plan = Plan(ablation, hash_plan(ablation, arms), (), arms, find_differences(checked))
    runs = plan.runs_of(ablation.seeds)
    check_different(ablation, runs, problems)
    problems.raise_any()
    return replace(plan, runs=tuple(run for run in runs if not only or run.arm in only))


def make_run(arm: str, config: RunConfig, facts: Facts) -> Run:
    """One run with its two fingerprints."""
    settings = effective(config) | {
        "trainer.precision": facts.precision,
        "data.content": facts.data_fingerprint,
        "recipe": RECIPE_VERSION,
    }
    training = {key: value for key, value in settings.items() if not in_factor(key, ["evaluation"])}
    return Run(arm, config.seed, config, digest(settings), digest(training), facts.data_fingerprint, facts.unavailable)


def effective(config: RunConfig) -> dict[str, Any]:
    """The settings that can change a result: without those that have no effect or are switched off by a choice."""
    flat = config.flat()
    return {
        key: value
        for key, value in flat.items()
        if not in_factor(key, WITHOUT_EFFECT) and (key not in USED_WITH or flat[USED_WITH[key][0]] in USED_WITH[key][1])
    }


def check_different(ablation: Ablation, runs: Sequence[Run], problems: Problems) -> None:
    """A problem for each pair of arms that amount to the same run: what they differ in changes no result."""
    seen: dict[str, Run] = {}
    for run in runs:
        twin = seen.setdefault(run.fingerprint, run)
        if twin.arm != run.arm:
            ours, theirs = run.config.flat(), twin.config.flat()
            ignored = ", ".join(key for key, value in ours.items() if value != theirs[key])
            note = f": here {ignored} has no effect on a result" if ignored else ""
            problems.add(ablation.source, f"arms {twin.arm!r} and {run.arm!r} are the same run{note}")


def hash_plan(ablation: Ablation, arms: Mapping[str, tuple[RunConfig, Facts]]) -> str:
    """Hash of what all arms have in common: settings outside the factor and without the seed, data, recipe."""
    factors = ablation.definition.factors
    facts = [fact for _, fact in arms.values()]
    common = next(config for config, _ in arms.values()).flat()
    for key, (decides, values) in USED_WITH.items():
        # A setting that only some arms use stays: whether it is used is then part of the factor.
        if not in_factor(decides, factors) and common[decides] not in values:
            del common[key]
    common = {key: value for key, value in common.items() if not in_factor(key, [*WITHOUT_EFFECT, "seed"])}
    common |= {"trainer.precision": sorted({fact.precision for fact in facts}), "recipe": RECIPE_VERSION}
    common = {key: value for key, value in common.items() if not in_factor(key, factors)}
    return digest([common, sorted({fact.data_fingerprint for fact in facts})])


def find_differences(configs: dict[str, RunConfig]) -> dict[str, dict[str, Any]]:
    """For each arm the settings, and their values, in which not all arms agree."""
    flats = {arm: config.flat() for arm, config in configs.items()}
    keys = [key for key in next(iter(flats.values())) if len({str(flat[key]) for flat in flats.values()}) > 1]
    return {arm: {key: flat[key] for key in keys} for arm, flat in flats.items()}
