"""Settings as phrases for a paper, and which of them all ablations share.

params: a run's resolved settings under dotted keys, as MLflow keeps them: text.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.definition import as_number
from analysis.numbers import counted, flat, join, setting
from analysis.reporting.material import Material

Params = Mapping[str, str]

NETWORKS = {"unet": "U-Net", "resnet34_unet": "ResNet34-U-Net"}
OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}
LOSSES = {
    "bce": "binary cross-entropy",
    "dice": "soft Dice loss",
    "bce_dice": "half binary cross-entropy, half soft Dice loss",
}
DATASETS = {"pets": "Oxford-IIIT Pet", "synthetic": "generated pictures of pets"}
BORDERS = {
    "pet": "the trimaps' border pixels count as pet",
    "background": "the trimaps' border pixels count as background",
    "ignore": "the trimaps' border pixels are neither trained on nor counted",
}
WITH_LISTS = ("pets", "synthetic")  # formats with a list for training and one for testing, and with borders
UNSAID = ("data name",)  # part of another topic
UNKNOWN = "not recorded"


def value(params: Params, key: str) -> str:
    """A setting as one would type it."""
    return setting(as_number(params[key])) if key in params else UNKNOWN


def named(params: Params, key: str, names: Mapping[str, str]) -> str:
    """A choice under its proper name."""
    return names.get(params.get(key, ""), value(params, key))


def is_on(params: Params, key: str) -> bool:
    """Whether a setting is a number other than zero."""
    number = as_number(params.get(key, "0"))
    return isinstance(number, float) and number != 0


def optimizer(params: Params) -> str:
    """`SGD with momentum 0.9 and weight decay 0.01`."""
    with_momentum = params.get("optimizer.name") == "sgd" and is_on(params, "optimizer.momentum")
    extras = [f"momentum {value(params, 'optimizer.momentum')}"] if with_momentum else []
    extras += [f"weight decay {value(params, 'optimizer.weight_decay')}"]
    clipping = params.get("trainer.clip_norm", "null") != "null"
    extras += [f"gradients clipped to a norm of {value(params, 'trainer.clip_norm')}"] if clipping else []
    return f"{named(params, 'optimizer.name', OPTIMIZERS)} ({', '.join(extras)})"


def schedule(params: Params) -> str:
    """How the learning rate goes on."""
    ways = {
        "cosine": f"cosine annealing to {value(params, 'scheduler.eta_min')}",
        "exponential": f"exponential decay by a factor of {value(params, 'scheduler.gamma')} an epoch",
        "constant": "no decay",
    }
    text = named(params, "scheduler.name", ways)
    warm_up = f" after a linear warm-up of {counted(value(params, 'scheduler.warmup_epochs'), 'epoch')}"
    return text + (warm_up if is_on(params, "scheduler.warmup_epochs") else "")


def augmentation(params: Params) -> str:
    """What is done to training images."""
    ways = []
    if is_on(params, "augmentation.rotation_degrees"):
        ways.append(f"rotations of up to {value(params, 'augmentation.rotation_degrees')} degrees")
    if is_on(params, "augmentation.flip_probability"):
        ways.append(f"horizontal flips with probability {value(params, 'augmentation.flip_probability')}")
    return join(ways) or "nothing"


def threshold(params: Params) -> str:
    """Where the threshold comes from."""
    if params.get("evaluation.threshold") == "validation":
        return (
            "chosen on the validation images, as the one of 0.05 to 0.95 in steps of 0.01 with the highest mean "
            "per-image Dice (of equals the nearest to 0.5)"
        )
    return f"fixed at {value(params, 'evaluation.threshold')}"


def dataset_name(params: Params, run: pd.Series) -> str:
    """What the data is called."""
    own = f"the images of `{flat(run['data_name'] or UNKNOWN)}`"
    return DATASETS.get(params.get("data.format", ""), own)


def split(params: Params) -> str:
    """How the images were divided."""
    validation, seed = value(params, "data.validation_fraction"), value(params, "data.split_seed")
    rule = f"scikit-learn's `train_test_split` with random state {seed}"
    if params.get("data.format") in WITH_LISTS:
        return (
            f"a share of {validation} of the training list was set aside for validation ({rule}), and the test list "
            "was used for testing"
        )
    shares = f"a share of {value(params, 'data.test_fraction')} was set aside for testing and {validation} of the rest"
    return f"the dataset's own lists were used where it has them, else {shares} for validation ({rule})"


def border(params: Params) -> str:
    """What the border pixels of trimaps count as; nothing where masks have none."""
    if params.get("data.format") not in WITH_LISTS:
        return "masks have no border, and everything but 0 is foreground"
    return named(params, "data.border", BORDERS)


def dataset(params: Params, run: pd.Series) -> str:
    """The data and the sizes of its parts."""
    sizes = [
        f"{int(run[column]):,} images for {use}"
        for column, use in (("num_train", "training"), ("num_validation", "validation"), ("num_test", "testing"))
        if pd.notna(run[column])
    ]
    name = dataset_name(params, run) + (" (Parkhi et al. 2012)" if params.get("data.format") == "pets" else "")
    return f"{name}: {join(sizes)}" if sizes else name


def topics(params: Params, run: pd.Series) -> dict[str, str]:
    """Every phrase of one run, by topic."""
    size = value(params, "data.image_size")
    return {
        "data": dataset(params, run),
        "data name": dataset_name(params, run),
        "split": split(params),
        "image size": f"{size} x {size} pixels",
        "border rule": border(params),
        "network": named(params, "model.name", NETWORKS),
        "optimizer": optimizer(params),
        "learning rate": value(params, "optimizer.lr"),
        "schedule": schedule(params),
        "loss": named(params, "loss.name", LOSSES),
        "augmentation": augmentation(params),
        "batch size": value(params, "data.batch_size"),
        "epochs": value(params, "trainer.epochs"),
        "precision": value(params, "trainer.precision"),
        "threshold": threshold(params),
    }


def topics_of(material: Material) -> dict[str, tuple[str, ...]]:
    """Each topic's phrases in an ablation, in the arms' order: one where all arms share it."""
    found: dict[str, list[str]] = {}
    for _, run in material.made.iterrows():
        params = material.results.params.get(str(run["run_id"]), {})
        for topic, phrase in topics(params, run).items() if params else ():
            found.setdefault(topic, []).append(phrase)
    return {topic: tuple(dict.fromkeys(phrases)) for topic, phrases in found.items()}


def all_values(ablations: Sequence[Mapping[str, tuple[str, ...]]], topic: str) -> str:
    """Every phrase that any run has in a topic: `12`, `1 or 2`; numbers by size."""
    phrases = dict.fromkeys(phrase for found in ablations for phrase in found.get(topic, ()))
    is_number = all(phrase.isdecimal() for phrase in phrases)
    return join(sorted(phrases, key=int) if is_number else phrases, "or")


def common(ablations: Sequence[Mapping[str, tuple[str, ...]]]) -> dict[str, str]:
    """What most ablations have in each topic; where every one compares it, its values."""
    shared = {}
    for topic in dict.fromkeys(topic for found in ablations for topic in found):
        phrases = [found[topic] for found in ablations if topic in found]
        single = Counter(values[0] for values in phrases if len(values) == 1)
        compared = dict.fromkeys(phrase for values in phrases for phrase in values)
        shared[topic] = single.most_common(1)[0][0] if single else f"{join(compared, 'or')} (as compared)"
    return shared


def departures(found: Mapping[str, tuple[str, ...]], shared: Mapping[str, str]) -> list[str]:
    """In which topics an ablation is not as the others, a phrase each."""
    different = []
    for topic, phrases in found.items():
        if topic in UNSAID:
            continue
        if len(phrases) == 1 and phrases[0] != shared[topic]:
            different.append(f"{topic} {phrases[0]}")
        if len(phrases) > 1 and "(as compared)" not in shared[topic]:
            different.append(f"{topic} as compared")
    return different
