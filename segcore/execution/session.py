"""One call of `runner.py` from the request to its end: data, plans, tracking, runs."""

import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console
from rich.progress import Progress, TaskID

from segcore import build, tracking
from segcore.ablation import Ablation, load_ablation
from segcore.config import RunConfig
from segcore.credentials import without_credentials
from segcore.data import DataIndex, Skipped
from segcore.errors import MissingDataError, UserError
from segcore.execution.devices import Devices
from segcore.execution.folder import RunFolder, claim, folder_of, make_runs_folder, set_aside, start_attempt
from segcore.execution.local import LocalLauncher
from segcore.execution.notices import notices
from segcore.execution.nursery import Nursery
from segcore.execution.pace import Sizes
from segcore.execution.request import Launcher, Request
from segcore.execution.standing import is_finished, standing_folder, standing_runs
from segcore.execution.terminal import Display
from segcore.plan import Facts, Plan, Run, digest, expand
from segcore.wording import plain_markdown

LAUNCHERS = {Launcher.local: LocalLauncher}


@dataclass
class Lookup:
    """Facts about settings on this machine; each dataset is found and hashed once.

    may_download: whether `data.download` counts; a look at the plan should not fetch 800 MB.
    """

    may_download: bool = True
    indices: dict[str, DataIndex] = field(default_factory=dict)

    def index(self, config: RunConfig) -> DataIndex:
        """The dataset that the settings name.  Raises UserError where it is not there or cannot be used."""
        is_wanted = config.data.download
        if not self.may_download:
            config = config.model_copy(update={"data": config.data.model_copy(update={"download": False})})
        key = config.data.model_dump_json(exclude={"image_size", "batch_size", "border", "max_skipped_fraction"})
        if key not in self.indices:
            try:
                self.indices[key] = build.build_index(config)
            except MissingDataError:
                if not is_wanted:
                    raise
                raise UserError(
                    f"data.root={config.data.root}: no dataset there yet, and a look at the plan downloads nothing. "
                    "The same command without --dry-run or --list does, as data.download=true says"
                ) from None
        return self.indices[key]

    def sizes(self, config: RunConfig) -> Sizes:
        """Images of the three parts, those that cannot be read among them."""
        index = self.index(config)
        return Sizes(len(index.train), len(index.validation), len(index.test))

    def facts(self, config: RunConfig) -> Facts:
        """Data content, precision, and why the run can't be, for the plan."""
        device = build.resolve_device(config)
        return Facts(
            self.index(config).fingerprint,
            build.resolve_precision(config, device),
            build.why_unavailable(config, device),
        )


def make_plans(request: Request, lookup: Lookup) -> list[Plan]:
    """The plans of all files.  Raises UserError with the problems of all files together."""
    ablations, messages = [], []
    for file in request.files:
        try:
            ablations.append(
                load_ablation(file, preset=request.preset, overrides=request.overrides, seeds=request.seeds)
            )
        except UserError as error:
            messages.append(str(error))
    experiments = [ablation.experiment for ablation in ablations]
    for name in sorted({name for name in experiments if experiments.count(name) > 1}):
        files = ", ".join(ablation.source for ablation in ablations if ablation.experiment == name)
        messages.append(f"{files}: have the same name, {name}; each needs one of its own")
    plans = []
    for ablation in ablations if not messages else ():
        try:
            plans.append(expand(ablation, lookup.facts, request.only))
        except UserError as error:
            messages.append(str(error))
    if messages:
        raise UserError("\n".join(dict.fromkeys("\n".join(messages).splitlines())))
    return plans


def find_runs_to_do(plans: Sequence[Plan], rerun: bool) -> list[Run]:
    """The runs that are possible and not finished, each fingerprint once, in the plans' order."""
    unique = {run.fingerprint: run for plan in plans for run in plan.runs if run.unavailable is None}
    return [run for run in unique.values() if rerun or folder_of(run).state != "finished"]


def show_decoding(progress: Progress, task: TaskID, done: int, total: int) -> None:
    """Bring the bar of a dataset's decoding up to date."""
    progress.update(task, completed=done, total=total)


class Session:
    """Prepares and executes plans, and keeps MLflow fed with what becomes of them.

    nursery: forks the workers.  delivered: whether MLflow took everything.
    """

    def __init__(
        self,
        request: Request,
        plans: Sequence[Plan],
        lookup: Lookup,
        console: Console,
        nursery: Nursery | None = None,
    ) -> None:
        self.request = request
        self.plans = plans
        self.lookup = lookup
        self.console = console
        self.nursery = nursery
        self.to_do = find_runs_to_do(plans, request.rerun)
        self.feeder = tracking.Feeder()
        self.experiments = [describe_experiment(plan.ablation) for plan in plans]
        self.counted: list[list[Run]] = [[] for _ in plans]
        self.started = time.time()
        self.delivered = False

    def prepare_data(self) -> None:
        """Decode what is not in the cache yet, before any worker starts.  Raises UserError on unusable data."""
        skipped: dict[str, Skipped] = {}
        with Progress(console=self.console, transient=True) as progress:
            for run in self.to_do:
                size = run.config.data.image_size
                task = progress.add_task(f"decoding to {size} x {size}", total=None)
                show = partial(show_decoding, progress, task)
                data = build.build_data(run.config, self.lookup.index(run.config), show)
                progress.remove_task(task)
                skipped |= {item.name: item for item in data.skipped}
        if skipped:
            names = ", ".join(f"{item.name} ({item.reason})" for item in list(skipped.values())[:5])
            more = ", ..." if len(skipped) > 5 else ""
            self.console.print(f"skipped {len(skipped)} unreadable items: {names}{more}", markup=False)

    def execute(self) -> None:
        """Run everything that is to do, feeding MLflow meanwhile; all of it is delivered when this returns.

        On KeyboardInterrupt the workers stop, what they did is delivered, and it is raised on.
        """
        make_runs_folder()
        launcher = LAUNCHERS[self.request.launcher](
            self.request.jobs, self.claim, Devices(self.request.jobs, self.say), self.nursery
        )
        self.counted = [standing_runs(plan) for plan in self.plans]
        for warning in tracking.prepare_store(self.experiments):
            self.say(warning)
        for notice in notices(self.to_do, self.request.jobs):
            self.say(notice)
        self.feed(launcher)

    def say(self, message: str) -> None:
        """Tell the user something that is no failure but wants to be known."""
        self.console.print(message, style="yellow", markup=False)

    def feed(self, launcher: LocalLauncher) -> None:
        """Run everything, with MLflow's feeder at work beside it."""
        self.feeder.start()
        try:
            self.note_unavailable()
            self.watch_what_is_done()
            epochs = sum(run.config.trainer.epochs for run in self.to_do)
            with Display(self.console, len(self.to_do), epochs) as display:
                launcher.execute(self.to_do, display.start, display.tick, display.end)
        finally:
            messages = self.feeder.close()
            self.delivered = not messages
            for message in messages:
                self.say(message)

    def watch_what_is_done(self) -> None:
        """Have all that the closing tables count delivered, so that MLflow's report counts the same.

        What is finished costs nothing, so it is delivered where it was not asked for, too: a declared seed that another
        ablation ran, or what a tracking database that is new does not know.
        """
        to_do = {run.fingerprint for run in self.to_do}
        for plan, counted in zip(self.plans, self.counted, strict=True):
            for run in counted:
                if run.fingerprint not in to_do and (run in plan.runs or is_finished(run)):
                    self.watch(run, standing_folder(run))

    def claim(self, run: Run) -> int | None:
        """Lock a run and give it a fresh folder; None, and a word to the user, where another process has it."""
        lock = claim(folder_of(run))
        if lock is None:
            self.say(f"{run.name}: another process is working on it")
            return None
        if self.was_finished_meanwhile(run):
            os.close(lock)
            self.watch(run, folder_of(run))
            return None
        earlier = set_aside(folder_of(run))
        if earlier:
            self.watch(run, earlier)
        precision = build.resolve_precision(run.config, build.resolve_device(run.config))
        # To train again means not to take over what was trained before this call.
        since = self.started if self.request.rerun else 0.0
        start_attempt(run, precision, trained_since=since, request=self.describe_request(run))
        self.watch(run, folder_of(run))
        return lock

    def was_finished_meanwhile(self, run: Run) -> bool:
        """Whether another call finished the run since this one made its plan."""
        folder = folder_of(run)
        newer = folder.read("run").get("created", 0.0) >= self.started
        return folder.state == "finished" and (newer or not self.request.rerun)

    def watch(self, run: Run, folder: RunFolder) -> None:
        """Have a folder delivered to every ablation of this call that counts the run."""
        for plan, experiment, counted in zip(self.plans, self.experiments, self.counted, strict=True):
            for same in (other for other in counted if other.fingerprint == run.fingerprint):
                folder.note_experiment(experiment.name)
                self.feeder.watch(
                    tracking.Delivery(
                        folder=folder.path,
                        experiment=experiment,
                        arm=same.arm,
                        seed=same.seed,
                        factor=", ".join(plan.ablation.definition.factors),
                        fingerprint=same.fingerprint,
                        plan=plan.plan,
                    )
                )

    def describe_request(self, run: Run) -> dict[str, str]:
        """What a run keeps of the call: preset, overrides as typed, and a hash of what its ablation claims.

        The claims are those of the first ablation of this call that the run belongs to.
        """
        plan = next(plan for plan in self.plans if any(other.fingerprint == run.fingerprint for other in plan.runs))
        claims = [hypothesis.model_dump() for hypothesis in plan.ablation.definition.hypotheses]
        return {
            "preset": plan.ablation.preset or "",
            "overrides": without_credentials(shlex.join(self.request.overrides)),
            "hypotheses": digest(claims),
        }

    def note_unavailable(self) -> None:
        """A folder with state and reason for each run that this machine can't compute, so that it is reported."""
        for run in (run for plan in self.plans for run in plan.runs if run.unavailable):
            lock = claim(folder_of(run))
            if lock is not None:
                if folder_of(run).state == "new":
                    set_aside(folder_of(run))
                    folder = start_attempt(run, run.config.trainer.precision, request=self.describe_request(run))
                    folder.set_state("missing", run.unavailable)
                os.close(lock)


def describe_experiment(ablation: Ablation) -> tracking.ExperimentInfo:
    """What the MLflow experiment of an ablation says: question, claims and definition."""
    definition = ablation.definition
    claims = [f"- {plain_markdown(hypothesis.claim)} (`{hypothesis.metric}`)" for hypothesis in definition.hypotheses]
    section = f"Report section {plain_markdown(definition.report.section)}. " if definition.report else ""
    factor = ", ".join(f"`{factor}`" for factor in definition.factors)
    text = [plain_markdown(f"{definition.title}: {definition.question}"), f"{section}Factor: {factor}."]
    if claims:
        text.append("Claims:\n" + "\n".join(claims))
    description = "\n\n".join(text)
    return tracking.ExperimentInfo(ablation.experiment, description, definition.model_dump_json())
