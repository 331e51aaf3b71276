"""What a Dice costs: test Dice against the time and against the compute of the training."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.figures.output import LeftOutError, Picture, Subject, finished, seeds_sentence
from analysis.figures.style import Look, Options
from analysis.metrics import PRIMARY, metric_of

HEIGHT = 2.1  # inches, without the legend
FORWARDS = 3  # a forward and a backward pass cost about as much as three forward passes
WIDE = 20.0  # costs that differ by more than this factor stand on a logarithmic axis


def plot_cost(axes: Axes, runs: pd.DataFrame, costs: "pd.Series[float]", looks: Mapping[str, Look], label: str) -> None:
    """Test Dice against a cost: a small marker a seed, a large hollow one for the arm's means.

    runs: finished ones.  costs: of each row of runs.  label: of the axis of the costs.
    """
    placed = runs.assign(cost=costs).dropna(subset=["cost", PRIMARY])
    for arm, one in looks.items():
        of_arm = placed[placed["arm"] == arm]
        mark: Options = {"linestyle": "none", "marker": one.marker, "color": one.colour}
        axes.plot(of_arm["cost"], of_arm[PRIMARY], markersize=style.SEED_SIZE, alpha=0.8, markeredgewidth=0, **mark)
        if len(of_arm):
            mean: Options = {"markerfacecolor": "none", "markeredgewidth": 1.1, "markersize": style.MEAN_SIZE + 2}
            axes.plot(of_arm["cost"].mean(), of_arm[PRIMARY].mean(), zorder=3, label=arm, **mark, **mean)
    least, most = placed["cost"].min(), placed["cost"].max()
    if least > 0 and most > WIDE * least:
        axes.set_xscale("log")
        style.write_log_axis(axes.xaxis, least, most)
    else:
        # From zero, so that a small difference in cost does not look like a large one.
        axes.set_xlim(0, 1.08 * most if most > 0 else 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.margins(y=0.1)
    axes.set_xlabel(label)
    axes.set_ylabel(metric_of(PRIMARY).label)


def training_time(runs: pd.DataFrame) -> tuple["pd.Series[float]", str]:
    """Each run's training time, and the axis's label; minutes from three on, hours from five on."""
    longest = runs["train_seconds"].max()
    unit, size = ("s", 1) if longest < 180 else ("min", 60) if longest < 18_000 else ("h", 3600)
    return runs["train_seconds"] / size, f"training time ({unit})"


def training_compute(runs: pd.DataFrame, epochs: pd.DataFrame) -> tuple["pd.Series[float]", str]:
    """Each run's floating-point operations in training, and the axis's label.

    Three forward passes an image, times training images, times epochs; those of one forward pass of one image where the
    number of training images or of epochs is not known for every run.
    """
    num_epochs = epochs.groupby(["arm", "seed"])["epoch"].max().rename("num_epochs")
    known = runs.join(num_epochs, on=["arm", "seed"])
    gflops = FORWARDS * known["gflops"] * known["num_train"].astype(float) * known["num_epochs"]
    if gflops[known["gflops"].notna()].isna().any():
        return runs["gflops"], "compute of an image, forward (GFLOPs)"
    unit, size = ("PFLOPs", 1e6) if gflops.max() >= 1e6 else ("TFLOPs", 1e3)
    return gflops / size, f"compute of the training ({unit})"


@style.styled()
def time_picture(subject: Subject, name: str) -> Picture:
    """Dice against time.  Raises LeftOutError where no finished run has both."""
    runs = having(subject, "train_seconds")
    times, label = training_time(runs)
    num_machines = len(runs.reindex(columns=["device", "host"]).astype(str).drop_duplicates())
    mixed = (
        f"The runs were made on {num_machines} different devices or machines, so that their times do not compare."
        if num_machines > 1
        else ""
    )
    return cost_picture(subject, name, "test Dice against training time", runs, times, label, mixed)


@style.styled()
def compute_picture(subject: Subject, epochs: pd.DataFrame, name: str) -> Picture:
    """Dice against compute.  Raises LeftOutError where no finished run has both."""
    runs = having(subject, "gflops")
    costs, label = training_compute(runs, epochs)
    if len(subject.looks) > 1 and costs.nunique() == 1:
        raise LeftOutError("all runs take the same compute")
    rule = "A multiplication and its addition are two operations" + (
        f"; a forward and a backward pass are taken as {FORWARDS} forward passes, for each training image and epoch."
        if "training" in label
        else "; the number of training images or of epochs is not known for all runs, so this is one forward pass of "
        "one image."
    )
    return cost_picture(subject, name, "test Dice against compute", runs, costs, label, rule)


def having(subject: Subject, cost: str) -> pd.DataFrame:
    """The finished runs that have test Dice and that cost.  Raises LeftOutError where there are none."""
    runs = finished(subject.runs, subject.looks).dropna(subset=[PRIMARY, cost])
    if runs.empty:
        raise LeftOutError(f"no finished run has both {PRIMARY} and {cost}")
    return runs


def cost_picture(
    subject: Subject, name: str, what: str, runs: pd.DataFrame, costs: "pd.Series[float]", label: str, remark: str
) -> Picture:
    """Dice against one cost."""
    figure = style.new_figure(style.COLUMN, HEIGHT)
    plot_cost(figure.subplots(), runs, costs, subject.looks, label)
    style.add_legend(figure, subject.looks, lines=False)
    sentences = [
        f"{what[0].upper()}{what[1:]}.",
        "Small markers: seeds; large hollow markers: means over the seeds; no interval is drawn.",
        remark,
        seeds_sentence(subject.runs, subject.looks, runs[costs.notna()]),
    ]
    return subject.picture(name, what, figure, sentences)
