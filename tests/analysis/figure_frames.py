"""A small world for the tests of figures: two arms, three seeds, four epochs, numbers that can be checked by hand."""

import numpy as np
import pandas as pd

from analysis.definition import Definition, Hypothesis, ReportFigure

ARMS = ("fast", "slow")
SEEDS = (1, 2, 3)
CONTEXT = "Small pets at 8 x 8, 4 epochs"
EPOCHS = 4


def make_definition(arms=ARMS, figures=((6, 7),), hypotheses=None):
    """An ablation whose report figures show the first two arms."""
    if hypotheses is None:
        hypotheses = (Hypothesis("fast wins", arms[0], arms[-1], "test/dice_per_image", 0.01),)
    shown = tuple(ReportFigure(numbers, tuple(arms[:2])) for numbers in figures)
    return Definition("small", "Small", "Which?", ("lr",), {arm: {} for arm in arms}, SEEDS, hypotheses, "3.2", shown)


def dice_of(arm_number, seed):
    """0.90, 0.91, 0.92 on the three seeds of the first arm, 0.1 less for each arm after it."""
    return 0.89 + 0.01 * seed - 0.1 * arm_number


def make_runs(arms=ARMS, seeds=SEEDS, unfinished=None):
    """Runs in the shape of analysis.results; unfinished: (arm, seed) to state."""
    rows = []
    for number, arm in enumerate(arms):
        for seed in seeds:
            row = {"arm": arm, "seed": seed, "state": (unfinished or {}).get((arm, seed), "finished"), "reason": ""}
            row |= {"fingerprint": f"{arm} {seed}", "device": "cpu", "host": "desk", "num_train": 1000.0}
            if row["state"] == "finished":
                dice = dice_of(number, seed)
                row |= {"test/dice_per_image": dice, "test/dice_dataset": dice + 0.02, "threshold": 0.4 + 0.1 * number}
                row |= {"test_at_0.5/dice_per_image": dice}
                row |= {"test_at_0.4/dice_batch": dice + 0.01, "val/dice_per_image": dice - 0.01}
                row |= {"val/dice_variation": 0.01 * seed, "train_seconds": 60.0 * (seed + 3), "gflops": 2.0 + number}
            rows.append(row)
    return pd.DataFrame(rows)


def make_epochs(arms=ARMS, seeds=SEEDS, num_epochs=EPOCHS):
    """Training loss 1 / epoch, higher by a tenth of the seed; validation Dice 0.1 times epoch plus 0.01 times seed."""
    rows = [
        {"arm": arm, "seed": seed, "epoch": epoch, "metric": metric, "value": value}
        for number, arm in enumerate(arms)
        for seed in seeds
        for epoch in range(1, num_epochs + 1)
        for metric, value in (
            ("train/loss", 1 / epoch + seed / 10 + number),
            ("val/dice_per_image", 0.1 * epoch + 0.01 * seed),
        )
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "epoch", "metric", "value"])


def make_images(arms=ARMS, seeds=SEEDS, breeds=("Abyssinian", "Sphynx")):
    """Ten images of Dice 0.1 to 1.0 a run, the breeds in turn."""
    frames = [
        pd.DataFrame(
            {
                "arm": arm,
                "seed": seed,
                "name": [f"pet_{index}" for index in range(10)],
                "breed": [breeds[index % len(breeds)] if breeds else None for index in range(10)],
                "dice": np.arange(1, 11) / 10,
            }
        )
        for arm in arms
        for seed in seeds
    ]
    return pd.concat(frames, ignore_index=True)


def make_curves(arms=ARMS, seeds=SEEDS):
    """Validation Dice of 0.9 minus a hundredth of the seed at a threshold of 0.4, falling by the distance to it."""
    thresholds = np.array([0.2, 0.4, 0.6])
    frames = [
        pd.DataFrame(
            {
                "arm": arm,
                "seed": seed,
                "threshold": thresholds,
                "dice_per_image": 0.9 - seed / 100 - abs(thresholds - 0.4),
            }
        )
        for arm in arms
        for seed in seeds
    ]
    return pd.concat(frames, ignore_index=True)


def line_of(axes, label):
    """The one line of that label."""
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line
