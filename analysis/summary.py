"""A finished ablation in a figure and a table: `python -m analysis.summary lr_sweep-pets64 --output docs/results`.

Writes EXPERIMENT.png and EXPERIMENT.md from what MLflow holds.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from analysis.figures import MISSING, summary_figure
from analysis.results import ResultsError, load_epochs, load_runs, make_client, reading

METRICS = {
    "test/dice_per_image": ("test Dice per image", 4),
    "test/dice_dataset": ("test Dice of the dataset", 4),
    "test_at_0.4/dice_batch": ("report's batch Dice at 0.4", 4),
    "threshold": ("threshold", 2),
    "epochs_to_90": ("epochs to 90 %", 1),
    "train_seconds": ("training, s", 0),
}


def table(runs: pd.DataFrame) -> str:
    """Mean ± standard deviation over seeds by arm, and each run's test Dice, as Markdown."""
    # A metric that no run has is no column yet.
    runs = runs.reindex(columns=list(dict.fromkeys([*runs.columns, *METRICS])))
    seeds = sorted(runs["seed"].unique())
    header = ["arm", *(label for label, _ in METRICS.values()), *(f"Dice, seed {seed}" for seed in seeds)]
    lines = [header, ["---"] * len(header)]
    for arm, of_arm in runs.groupby("arm", sort=False):
        cells = [str(arm)]
        for metric, (_, digits) in METRICS.items():
            values = of_arm[metric].dropna()
            spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.{digits}f}{spread}" if len(values) else MISSING)
        by_seed = of_arm.set_index("seed")["test/dice_per_image"]
        cells += [f"{by_seed[seed]:.4f}" if seed in by_seed.dropna().index else MISSING for seed in seeds]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def summarize(experiment: str, output: Path) -> str:
    """Writes figure and table into a folder; returns the table."""
    with reading():
        client = make_client()
        runs = load_runs(client, experiment)
        epochs = load_epochs(client, runs, ["train/loss", "val/dice_per_image"])
    output.mkdir(parents=True, exist_ok=True)
    summary_figure(runs, epochs, experiment).savefig(output / f"{experiment}.png", dpi=150)
    text = table(runs)
    (output / f"{experiment}.md").write_text(text, encoding="utf-8")
    return text


def main() -> int:
    """The command; exit status 2 where the results are not there or cannot be written."""
    parser = argparse.ArgumentParser(description="A finished ablation in a figure and a table, from MLflow.")
    parser.add_argument("experiment", help="the experiment's name in MLflow, such as lr_sweep-pets64")
    parser.add_argument("--output", type=Path, default=Path("report"), help="folder for EXPERIMENT.png and .md")
    arguments = parser.parse_args()
    try:
        print(summarize(arguments.experiment, arguments.output))
    except ResultsError as error:
        problem = str(error)
    except OSError as error:
        problem = f"--output {arguments.output} cannot be written: {error.strerror or error}"
    else:
        return 0
    print(problem, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
