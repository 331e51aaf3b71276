"""One factor at a time: what differs between arms, and what differs along with it."""

from collections.abc import Callable, Iterable, Sequence

from analysis.metrics import metric_of
from analysis.numbers import flat, join, number
from analysis.reporting.material import Material
from analysis.reporting.tables import arms_of, finished_values, time_column

# Settings that cannot change a result beyond rounding (each run of a plan may have its own).
NEUTRAL = (
    *("seed", "data.root", "data.cache_dir", "data.download", "data.max_skipped_fraction"),
    *("evaluation.batch_size", "trainer.compile"),
)
NEUTRAL_GROUPS = ("execution.",)
# Two arms' training times or memories differ where they are further apart than this share.
NOTABLE = 0.05
EXACT = ("parameters", "gflops")
COSTS = ("train_seconds", "peak_memory_gib")


def in_factor(key: str, factors: Sequence[str]) -> bool:
    """Whether a setting is a factor or below one."""
    return any(key == factor or key.startswith(f"{factor}.") for factor in factors)


def differing_settings(material: Material) -> list[str]:
    """The settings in which runs differ, those that cannot change a result left out."""
    results = material.results
    settings = [results.params.get(str(run_id), {}) for run_id in material.made["run_id"]]
    keys = sorted({key for params in settings for key in params})
    return [
        key
        for key in keys
        if key not in NEUTRAL
        and not key.startswith(NEUTRAL_GROUPS)
        and len({params[key] for params in settings if key in params}) > 1
    ]


def beside_the_factor(material: Material) -> Iterable[str]:
    """Settings outside of the factor in which runs differ: there should be none."""
    factors = material.results.definition.factors
    found = [key for key in differing_settings(material) if not in_factor(key, factors)]
    if found:
        yield f"runs differ outside of the factor, in {join(f'`{key}`' for key in found)}."


def describe_comparison(material: Material) -> tuple[str, ...]:
    """What the arms differ in, and what differs along with it: parameters, compute, time, memory."""
    definition = material.results.definition
    factor = join(f"`{flat(factor)}`" for factor in definition.factors)
    if len(definition.arms) < 2:
        return ("There is only one arm, so nothing is compared.",)
    others = list(beside_the_factor(material))
    with_runs = [arm for arm in arms_of(material.results) if (material.finished["arm"] == arm).any()]
    sentences = [f"The arms differ in {factor}{'.' if others else ' and in nothing else that is set.'}"]
    sentences += [f"But {other}" for other in others]
    along = [text for text in (along_with(material, key) for key in EXACT) if text]
    along += [text for text in (cost_along(material, key) for key in COSTS) if text]
    if len(with_runs) < 2:
        count = f"only {flat(with_runs[0])} has" if with_runs else "no arm has"
        return (*sentences, f"What differs along with it cannot be told, because {count} finished runs.")
    absent = [flat(arm) for arm in arms_of(material.results) if arm not in with_runs]
    among = f" ({join(absent)} without a finished run left out)" if absent else ""
    if along:
        sentences.append(f"What differs along with it{among}: {join(along)}.")
    sentences += [f"{sentence}{among if not along else ''}." for sentence in alike(material, with_runs)]
    return tuple(sentences)


def alike(material: Material, arms: Sequence[str]) -> list[str]:
    """In what arms do not differ, of what was measured for all of them: `Training time differs by less than 5 %`."""
    results = material.results

    def among(keys: Sequence[str], differing: Callable[[Material, str], str]) -> list[str]:
        is_known = [all(finished_values(results, arm, key) for arm in arms) for key in keys]
        return [
            metric_of(key).phrase
            for key, known in zip(keys, is_known, strict=True)
            if known and not differing(material, key)
        ]

    same, near = among(EXACT, along_with), among(COSTS, cost_along)
    clauses = [f"{join(same)} {'is' if len(same) == 1 else 'are'} the same"] if same else []
    clauses += [f"{join(near)} {'differs' if len(near) == 1 else 'differ'} by less than 5 %"] if near else []
    text = "; ".join(clauses)
    return [text[:1].upper() + text[1:]] if text else []


def along_with(material: Material, key: str) -> str:
    """`parameters (23,502,881 to 31,043,521)` where arms differ."""
    values = [value for arm in arms_of(material.results) for value in finished_values(material.results, arm, key)]
    if len(set(values)) < 2:
        return ""
    metric = metric_of(key)
    unit = f" {metric.unit}" if metric.unit not in metric.phrase else ""
    return f"{metric.phrase} ({number(min(values), metric.digits)} to {number(max(values), metric.digits)}{unit})"


def cost_along(material: Material, key: str) -> str:
    """`training time (10.1 to 41.3 min)` where the means of two arms are further apart than a notable share."""
    results = material.results
    found = [finished_values(results, arm, key) for arm in arms_of(results)]
    means = [sum(values) / len(values) for values in found if values]
    if len(means) < 2 or max(means) - min(means) <= NOTABLE * min(means):
        return ""
    unit, scale = time_column(results) if key == "train_seconds" else (metric_of(key).unit, 1.0)
    low, high = number(min(means) / scale, 1), number(max(means) / scale, 1)
    return f"{metric_of(key).phrase} ({low} to {high} {unit})"
