"""The methods section: what was done, in prose made from the settings of the runs, to be pasted into a paper."""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version

from analysis.numbers import counted, join, level, plural, runs_of, with_unit
from analysis.reporting.deviations import groups, short
from analysis.reporting.material import Material
from analysis.reporting.model import Paragraph, unique
from analysis.reporting.overall import RULE
from analysis.reporting.topics import common, departures, topics_of
from analysis.reporting.trainings import shared_arms
from analysis.statistics import verdict_level

LIBRARIES = ("numpy", "scipy", "statsmodels", "pandas", "matplotlib")


def describe_methods(materials: Sequence[Material], *, is_overall_judged: bool = False) -> tuple[Paragraph, ...]:
    """All paragraphs, of what has finished or, where nothing has, was begun; none where no run was made.

    is_overall_judged: whether the claim over all ablations is among the verdicts.
    """
    made = [material for material in materials if len(material.finished)]
    made = made or [material for material in materials if len(material.made)]
    found = [topics_of(material) for material in made]
    shared = common(found)
    if not shared:
        return ()
    titles = [material.label for material in made]
    paragraphs = [
        Paragraph("Data", data_text(shared)),
        Paragraph("Training", training_text(shared)),
        Paragraph("Evaluation", evaluation_text(shared)),
        Paragraph("Seeds", seeds_text(made)),
        Paragraph("Statistics", " ".join([statistics_text(made), *([RULE] if is_overall_judged else [])])),
        Paragraph("Computation", computation_text(made)),
    ]
    exceptions = [
        f"{title}: {'; '.join(different)}."
        for title, topics in zip(titles, found, strict=True)
        if (different := departures(topics, shared))
    ]
    if exceptions:
        text = "Where an ablation is not as described above. " + " ".join(exceptions)
        paragraphs.insert(3, Paragraph("Settings by ablation", text))
    return tuple(paragraphs)


def data_text(shared: dict[str, str]) -> str:
    """Dataset, sizes, split, masks."""
    return (
        f"{sentence_case(shared['data'])}. {sentence_case(shared['split'])}; the split is the same for all runs. "
        f"Images were resized to {shared['image size']} and scaled to [0, 1]; {shared['border rule']}."
    )


def training_text(shared: dict[str, str]) -> str:
    """Network, optimizer, schedule, loss, augmentation, length, precision, checkpoint."""
    augmented = shared["augmentation"]
    augmenting = (
        "Training images were not augmented"
        if augmented == "nothing"
        else f"Training images alone were augmented, with {augmented}"
    )
    return (
        f"{shared['network']} was trained from scratch with {shared['optimizer']}, at a learning rate of "
        f"{shared['learning rate']} with {shared['schedule']}, stepped once an epoch. The loss was {shared['loss']}. "
        f"{augmenting}. Training went on for {counted(shared['epochs'], 'epoch')} in batches of "
        f"{shared['batch size']} images, computed in {shared['precision']}. The weights of the first epoch with "
        "the highest validation Dice (mean over images, at threshold 0.5) were kept and tested."
    )


def evaluation_text(shared: dict[str, str]) -> str:
    """Metrics and the threshold's rule."""
    return (
        "Dice was computed for each test image as 2TP / (2TP + FP + FN), 1 where truth and prediction are both "
        "empty, and averaged over images; dataset Dice is that of all pixels together. The threshold was "
        f"{shared['threshold']}, and then applied to the test images."
    )


def seeds_text(materials: Sequence[Material]) -> str:
    """The seeds, which runs are lacking or shared, what a seed controls, and what it does not."""
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for material in materials:
        seeds = tuple(sorted({int(seed) for seed in material.finished["seed"]}))
        by_seeds.setdefault(seeds, []).append(material.label)
    counts = Counter({seeds: len(titles) for seeds, titles in by_seeds.items()})
    usual = counts.most_common(1)[0][0]
    others = [
        f"{join(map(str, seeds)) or 'none finished'} ({join(titles)})"
        for seeds, titles in by_seeds.items()
        if seeds != usual
    ]
    also = f"; of other ablations: {'; '.join(others)}" if others else ""
    exceptions = [*lacking_text(materials), *shared_text(materials)]
    except_for = f" Exceptions: {'; '.join(exceptions)}." if exceptions else ""
    return (
        f"Each arm was trained once for each seed: {join(map(str, usual)) or 'none finished'}{also}.{except_for} "
        "A run's seed determines initial weights, order of the images and augmentation, each through a generator of "
        "its own, so that all arms of one seed see the same images in the same order, and networks of the same kind "
        "start from the same weights. It does not determine the split."
    )


def lacking_text(materials: Sequence[Material]) -> list[str]:
    """The runs that have no result on a seed on which other arms of the ablation have one."""
    found = []
    for material in materials:
        runs = material.results.runs
        lacking = runs[
            runs["arm"].isin(list(material.results.definition.arms))
            & runs["seed"].isin(material.finished["seed"])
            & (runs["state"] != "finished")
        ]
        for state, rows in lacking.groupby("state", sort=False):
            pairs = [(arm, int(seed)) for arm, seed in zip(rows["arm"], rows["seed"], strict=True)]
            found.append(f"{runs_of(pairs, limit=len(pairs))} of {material.label} ({state})")
    return [f"without a result {'is' if len(found) == 1 else 'are'} {join(found)}"] if found else []


def shared_text(materials: Sequence[Material]) -> list[str]:
    """The arms that stand for the same trainings."""
    found = []
    for arms in shared_arms(materials):
        of_ablation: dict[str, list[str]] = {}
        for ablation, arm in arms:
            of_ablation.setdefault(ablation, []).append(arm)
        found.append(join(f"{join(names)} of {ablation}" for ablation, names in of_ablation.items()))
    return [f"trainings are shared by {arms}" for arms in found]


def statistics_text(materials: Sequence[Material]) -> str:
    """The verdicts' rule, with the numbers of claims and the margins at hand, and what it does not cover."""
    numbers = sorted({len(material.verdicts) for material in materials if material.verdicts})
    if not numbers:
        return "No claim was declared, and none was tested. Values are mean ± standard deviation over seeds."
    levels = join(f"{level(verdict_level(count))} with {plural(count, 'claim')}" for count in numbers)
    return (
        "Values are mean ± standard deviation over seeds. Two arms were compared seed by seed: the t interval of "
        "the mean paired difference was held against a margin that was declared with the claim. Wholly above the "
        "margin, the claim is supported; wholly below minus the margin, reversed; wholly within both, the arms are "
        "equivalent, which for a claim of equality means supported; anything else is inconclusive, as is every "
        "claim on a single seed. Ratios were compared as differences of logarithms. With k claims in an ablation "
        f"the interval's level was 1 - 0.05/k ({levels}), so that the chance of any false verdict in an ablation is "
        "at most 5 % if the differences are normally distributed; it is not bounded over all ablations together. "
        f"{margins_text(materials)} Intervals that are shown are at 95 %. They describe how the result varies when "
        "training is repeated with other seeds on these data, with this split; how it varies with the test images "
        "is a bootstrap over images (2,000 resamples, percentile intervals) and is shown apart. Neither covers "
        "other datasets or splits, nor a longer training."
    )


def margins_text(materials: Sequence[Material]) -> str:
    """`The margins were 0.2 points or 0.5 points (test per-image Dice) and 1 epochs (...).`"""
    found: dict[str, list[str]] = {}
    for verdict in (verdict for material in materials for verdict in material.verdicts):
        margin = with_unit(f"{verdict.margin:g}", verdict.metric.unit, verdict.hypothesis.ratio)
        found.setdefault(verdict.metric.phrase, []).append(margin)
    shown = [f"{join(sorted(set(margins)), 'or')} ({phrase})" for phrase, margins in found.items()]
    return f"The margin{' was' if len(shown) == 1 else 's were'} {join(shown)}."


def computation_text(materials: Sequence[Material]) -> str:
    """Devices, threads, versions."""
    torch = list_values(materials, "torch")
    devices, threads = list_values(materials, "device").replace("cpu", "CPU"), list_values(materials, "threads")
    commits = join(unique([short(commit) for material in materials for commit in groups(material.made, "git_commit")]))
    on_threads = f" with {threads} threads" if threads else ""
    by = f"Runs were computed by PyTorch {torch or 'of a version that was not recorded'}"
    code = f", with the code at commit {commits}" if commits else ""
    libraries = join(f"{library} {version(library)}" for library in LIBRARIES)
    return f"{by} on {devices or 'a device that was not recorded'}{on_threads}{code}. The analysis used {libraries}."


def list_values(materials: Sequence[Material], column: str) -> str:
    """Every value of a column, most frequent first within each ablation."""
    found = unique([str(value) for material in materials for value in groups(material.made, column)])
    return join(found)


def sentence_case(text: str) -> str:
    """With a capital."""
    return text[:1].upper() + text[1:]
