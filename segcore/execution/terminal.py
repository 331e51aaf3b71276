"""What the terminal shows: the plan, the progress of the runs and of the whole, the closing table."""

import contextlib
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from segcore.definition import METRICS
from segcore.execution.folder import RunFolder, folder_of
from segcore.execution.standing import metrics_of, newer_attempt, shown_state, standing_folder, standing_runs
from segcore.execution.turns import UnderWay
from segcore.plan import Plan, Run

PRIMARY = "test/dice_per_image"
# More seeds than this share one column.
MAX_SEED_COLUMNS = 3


def show_seconds(seconds: float) -> str:
    """A duration for people: 42 s, 7 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show_decoding(progress: Progress, task: TaskID, done: int, total: int) -> None:
    """Bring the bar of a dataset's decoding up to date."""
    progress.update(task, completed=done, total=total)


class Display:
    """Progress of running trainings and of the whole; lines instead of bars where the output is no terminal.

    num_runs, epochs_to_do: of this call.  num_before: of the runs that are asked for, those that had ended before it.
    """

    def __init__(self, console: Console, num_runs: int, epochs_to_do: int, num_before: int = 0) -> None:
        self.console = console
        self.num_runs = num_before + num_runs
        self.epochs_to_do = epochs_to_do
        self.started = time.monotonic()
        self.ended_runs = num_before
        self.waited_for = ""
        # Of each run, the part of the one under way included: now, and when this call began or continued it.
        self.epochs_done: dict[str, float] = {}
        self.epochs_before: dict[str, float] = {}
        self.tasks: dict[str, TaskID] = {}
        self.shown_epochs: dict[str, int] = {}
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.whole = self.progress.add_task("all runs", total=max(1, epochs_to_do), note="")

    def __enter__(self) -> "Display":
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def start(self, job: UnderWay) -> None:
        """A run's process was started."""
        run, epochs = job.run.fingerprint, job.run.config.trainer.epochs
        self.tasks[run] = self.progress.add_task(escape(job.run.name), total=epochs, note="starting")
        self.shown_epochs[run] = len(list(job.folder.lines("epochs")))
        done = self.shown_epochs[run] + epoch_share(job.folder, self.shown_epochs[run])
        self.epochs_before.setdefault(run, done)

    def tick(self, jobs: Sequence[UnderWay]) -> None:
        """Bring bars or lines up to date with what the runs have written."""
        epochs: dict[str, list[dict[str, Any]]] = {}
        for job in jobs:
            with contextlib.suppress(OSError):  # its folder can't be read, as its end will say
                lines = list(job.folder.lines("epochs"))
                self.epochs_done[job.run.fingerprint] = len(lines) + epoch_share(job.folder, len(lines))
                epochs[job.run.fingerprint] = lines
        for job in (job for job in jobs if job.run.fingerprint in epochs):
            with contextlib.suppress(OSError):
                self.show(job, epochs[job.run.fingerprint])
        self.progress.update(self.whole, completed=sum(self.epochs_done.values()), note=self.outlook())

    def show(self, job: UnderWay, lines: Sequence[Mapping[str, Any]]) -> None:
        """Bring a run's bar or lines up to date.  lines: of its epochs."""
        run = job.run.fingerprint
        for line in lines[self.shown_epochs[run] :]:
            self.show_epoch(job, line)
        self.shown_epochs[run] = len(lines)
        self.progress.update(self.tasks[run], completed=self.epochs_done[run], note=stage(job, lines))

    def show_epoch(self, job: UnderWay, line: Mapping[str, Any]) -> None:
        """Without a terminal: a line for an epoch."""
        if not self.console.is_terminal:
            epochs = job.run.config.trainer.epochs
            what = f"{job.run.name}: epoch {line['epoch']} of {epochs}: {describe(line['metrics'])}"
            self.console.print(f"{what}  [{self.outlook()}]", markup=False, highlight=False, soft_wrap=True)

    def outlook(self) -> str:
        """Runs done, and the time left if the rest goes as fast as what was done."""
        text, done = f"{self.ended_runs} of {self.num_runs} runs done", sum(self.epochs_done.values())
        done_here = done - sum(self.epochs_before.values())
        if done_here > 0:
            seconds = (time.monotonic() - self.started) / done_here * (self.epochs_to_do - done)
            text += f", about {show_seconds(max(0.0, seconds))} left"
        return text

    def again(self, job: UnderWay) -> None:
        """A run failed, and is tried again."""
        self.tick([job])
        self.progress.remove_task(self.tasks.pop(job.run.fingerprint))
        self.console.print(end_line(job) + Text("; it is tried again"), highlight=False, soft_wrap=True)

    def end(self, job: UnderWay) -> None:
        """A run's process ended."""
        self.tick([job])
        self.progress.remove_task(self.tasks.pop(job.run.fingerprint))
        self.count(job.run)
        self.console.print(end_line(job), highlight=False, soft_wrap=True)

    def count(self, run: Run) -> None:
        """A run is done, for the outlook."""
        self.ended_runs += 1
        self.epochs_done[run.fingerprint] = run.config.trainer.epochs

    def wait(self, runs: Sequence[Run]) -> None:
        """Nothing is left but runs that other calls are at work on."""
        names = "; ".join(run.name for run in runs)
        if names != self.waited_for:
            self.waited_for = names
            text = f"waiting   another call of runner.py is at work on {names}; Ctrl-C ends this one alone"
            self.console.print(Text(text, "yellow"), soft_wrap=True)

    def fail(self, run: Run, reason: str) -> None:
        """A run could not be started."""
        self.count(run)
        self.console.print(Text("failed  ", "red") + Text(f"{run.name}: {reason}"), soft_wrap=True)

    def settle(self, run: Run) -> None:
        """A run was brought to its end by another call."""
        self.epochs_before[run.fingerprint] = run.config.trainer.epochs
        self.count(run)
        self.console.print(Text(f"{folder_of(run).state}  {run.name}, by another call"), soft_wrap=True)

    def stopping(self, jobs: Sequence[UnderWay]) -> None:
        """The call ends, and its runs are saved first."""
        text = f"stopping  {'; '.join(job.run.name for job in jobs)}: being saved; Ctrl-C again ends at once"
        self.console.print(Text(text, "yellow"), soft_wrap=True)


def stage(job: UnderWay, lines: Sequence[Mapping[str, Any]]) -> str:
    """Where a run is: starting, in its first epoch, its last epoch's numbers, or testing."""
    if not lines:
        return "first epoch" if "epoch" in job.folder.read("progress") else "starting"
    text = describe(lines[-1]["metrics"])
    return f"{text}, testing" if len(lines) == job.run.config.trainer.epochs else text


def epoch_share(folder: RunFolder, epochs_done: int) -> float:
    """The part of the epoch under way that is done, in [0, 1)."""
    progress = folder.read("progress")
    under_way = progress.get("epoch") == epochs_done + 1 and progress.get("steps")
    return progress.get("step", 0) / progress["steps"] if under_way else 0.0


def describe(metrics: Mapping[str, float]) -> str:
    """An epoch in a few words."""
    return (
        f"loss {metrics['train/loss']:.4f}, val Dice {metrics['val/dice_per_image']:.4f}, "
        f"{metrics['images_per_second']:.0f} images/s"
    )


def end_line(job: UnderWay) -> Text:
    """How a run ended, in a line."""
    state, reason = job.outcome
    if state == "finished":
        metrics = job.folder.read("results").get("metrics", {})
        seconds = show_seconds(metrics.get("train_seconds", math.nan))
        text = f"{job.run.name}: test Dice {metrics.get(PRIMARY, math.nan):.4f} after {seconds} of training"
        return Text("finished  ", "green") + Text(text)
    log = f" (log: {job.folder.log})" if state in ("failed", "diverged") else ""
    return Text(f"{state}  ", "red") + Text(f"{job.run.name}: {reason}{log}")


def results_tables(plan: Plan) -> Group:
    """The closing tables: test Dice by arm and seed with what is missing, then the other metrics of the claims.

    All arms as they stand, those too that were not asked for.
    """
    definition = plan.ablation.definition
    main = Table(
        title=Text(f"{definition.title}: {definition.question}", "italic"),
        caption="test Dice, mean over images: mean ± standard deviation over seeds, then each seed's own value",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    main.add_column("arm", min_width=8)
    main.add_column("test Dice", justify="right", no_wrap=True)
    runs = standing_runs(plan)
    seeds = sorted({run.seed for run in runs})
    runs_of_arm: dict[str, list[Run]] = {arm: [] for arm in plan.arms}
    for run in sorted(runs, key=lambda run: run.seed):
        runs_of_arm[run.arm].append(run)
    for header in seed_headers(seeds):
        main.add_column(header, justify="right", no_wrap=len(seeds) <= MAX_SEED_COLUMNS)
    main.add_column("minutes", justify="right", no_wrap=True)
    main.add_column("state", min_width=10)
    for arm, of_arm in runs_of_arm.items():
        main.add_row(*arm_row(arm, of_arm, seeds))
    others = {hypothesis.metric: None for hypothesis in definition.hypotheses if hypothesis.metric != PRIMARY}
    if not others:
        return Group(main)
    claimed = Table(title="Other metrics that are claimed about", box=box.SIMPLE_HEAD, pad_edge=False)
    claimed.add_column("metric (better)")
    for arm in runs_of_arm:
        claimed.add_column(Text(arm), justify="right")
    for metric in others:
        values = [mean_and_spread([metrics_of(run).get(metric) for run in own]) for own in runs_of_arm.values()]
        claimed.add_row(f"{metric} ({METRICS[metric]})", *values)
    return Group(main, claimed)


def seed_headers(seeds: Sequence[int]) -> list[str]:
    """A column a seed; one for all where they are many."""
    if len(seeds) <= MAX_SEED_COLUMNS:
        return [f"seed {seed}" for seed in seeds]
    return [f"seeds {', '.join(map(str, seeds))}"]


def arm_row(arm: str, runs: Sequence[Run], seeds: Sequence[int]) -> list[Text]:
    """An arm's cells in the closing table.  seeds: those of the table, which not all have to be the arm's."""
    metrics = [metrics_of(run) for run in runs]
    by_seed = {run.seed: values.get(PRIMARY) for run, values in zip(runs, metrics, strict=True)}
    primary = [by_seed.get(seed) for seed in seeds]
    each = [f"{value:.4f}" if value is not None and math.isfinite(value) else "–" for value in primary]
    minutes = [values["train_seconds"] / 60 for values in metrics if "train_seconds" in values]
    cells = [
        arm,
        mean_and_spread(primary),
        *(each if len(seeds) <= MAX_SEED_COLUMNS else [" ".join(each)]),
        f"{statistics.mean(minutes):.1f}" if minutes else "–",
        arm_state(runs),
    ]
    return [Text(cell) for cell in cells]


def mean_and_spread(values: Sequence[float | None]) -> str:
    """`mean ± standard deviation`; the mean alone for one value, a dash for none.  Large numbers get fewer digits.

    What is not a number does not count.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return "–"
    mean = statistics.mean(known)
    digits = 4 if abs(mean) < 1 else 1
    return f"{mean:.{digits}f}" + (f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else "")


def arm_state(runs: Sequence[Run]) -> str:
    """`finished`, or how many are not and why; then what was tried again since without success."""
    states = [shown_state(run) for run in runs]
    lines = []
    for state in dict.fromkeys(states):
        of_state = [run for run, its_state in zip(runs, states, strict=True) if its_state == state]
        reasons = dict.fromkeys(filter(None, (standing_folder(run).reason for run in of_state)))
        lines.append(f"{len(of_state)} {state}" + (f": {'; '.join(reasons)}" if reasons else ""))
    if set(states) == {"finished"}:
        lines = ["finished"]
    return "\n".join([*lines, *(f"seed {run.seed}: {newer}" for run in runs if (newer := newer_attempt(run)))])
