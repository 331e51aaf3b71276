"""One call of `runner.py` from the request to its end: data, plans, tracking, runs."""

import contextlib
import shlex
import time
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from segcore import build, tracking
from segcore.credentials import without_credentials
from segcore.data import Skipped
from segcore.execution.attempts import Preparation, ask_anew, mark_of, set_aside, start_attempt
from segcore.execution.claims import Claim, Claims
from segcore.execution.devices import Devices
from segcore.execution.folder import RunFolder, folder_of, make_runs_folder
from segcore.execution.local import LocalLauncher, Refusal
from segcore.execution.notices import notices, notices_of_earlier
from segcore.execution.nursery import Nursery
from segcore.execution.planning import Lookup, describe_experiment, find_runs_to_do
from segcore.execution.ray import RayLauncher
from segcore.execution.ray_cluster import Cluster
from segcore.execution.ray_task import Assignment, Beginning
from segcore.execution.request import Request
from segcore.execution.standing import is_finished, standing_folder, standing_runs
from segcore.execution.terminal import Display, show_decoding
from segcore.plan import Plan, Run, digest


class BusyError(Exception):
    """Another process is at work on a run."""


class Session:
    """Prepares and executes plans, and keeps MLflow fed with what becomes of them.

    nursery: forks the workers.  cluster: computes the runs in place of this machine.  delivered: whether MLflow took
    everything.
    """

    def __init__(
        self,
        request: Request,
        plans: Sequence[Plan],
        lookup: Lookup,
        console: Console,
        nursery: Nursery | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.request = request
        self.plans = plans
        self.lookup = lookup
        self.console = console
        self.nursery = nursery
        self.cluster = cluster
        self.identity = uuid.uuid4().hex
        self.to_do = find_runs_to_do(plans, request.rerun)
        self.claims = Claims()
        # How the runs stood when this call began, and those that it has begun or continued itself.
        self.before = {run.fingerprint: mark_of(folder_of(run)) for run in self.to_do}
        self.begun: set[str] = set()
        # Those that other calls have brought to their end.
        self.settled: set[str] = set()
        self.feeder = tracking.Feeder(tell=self.say)
        self.experiments = [describe_experiment(plan.ablation) for plan in plans]
        self.counted: list[list[Run]] = [[] for _ in plans]
        self.started = time.time()
        self.delivered = False

    def prepare_data(self) -> None:
        """Decode what is not in the cache yet, before any worker starts.  Raises UserError on unusable data."""
        skipped: dict[str, Skipped] = {}
        with Progress(console=self.console, transient=True) as progress:
            # Each cache once.
            for run in {run.config.data.model_dump_json(): run for run in self.to_do}.values():
                size = run.config.data.image_size
                task = progress.add_task(f"decoding to {size} x {size}", total=None)
                show = partial(show_decoding, progress, task)
                data = build.build_data(run.config, self.lookup.index(run.config), show, verify=True)
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
        launcher = self.make_launcher()
        self.counted = [standing_runs(plan) for plan in self.plans]
        warnings = tracking.prepare_store(self.experiments)
        self.feeder.is_absence_told = any(warning.startswith(tracking.AWAY) for warning in warnings)
        crowding = notices(self.to_do, self.request.jobs) if self.cluster is None else []
        earlier = notices_of_earlier(self.plans, self.to_do) if not self.request.rerun else []
        for message in (*warnings, *crowding, *earlier):
            self.say(message)
        if self.request.rerun:
            self.ask_anew()
        self.feed(launcher)

    def make_launcher(self) -> LocalLauncher | RayLauncher:
        """What executes the runs: on this machine, or on the cluster."""
        jobs, retries = self.request.jobs, self.request.retries
        if self.cluster is not None:
            return RayLauncher(self.cluster, jobs, self.assign, self.note_beginning, self.claims, retries)
        return LocalLauncher(jobs, self.claim, Devices(jobs, self.say), nursery=self.nursery, retries=retries)

    def ask_anew(self) -> None:
        """Note of each run that it is to be trained anew, so that the same call without --rerun goes on with that."""
        for run in self.to_do:
            with self.left_alone_if_unusable(run), self.claimed(run):
                if mark_of(folder_of(run)) == self.before[run.fingerprint]:  # else another call has just trained it
                    ask_anew(folder_of(run))

    @contextlib.contextmanager
    def claimed(self, run: Run) -> Iterator[None]:
        """While entered, the run is this process's.  Raises BusyError where another process has it."""
        claim = self.claims.take(folder_of(run))
        if claim is None:
            raise BusyError
        try:
            yield
        finally:
            claim.release()

    @contextlib.contextmanager
    def left_alone_if_unusable(self, run: Run) -> Iterator[None]:
        """Go on without what is done here where another process has the run, or its folder cannot be used."""
        try:
            yield
        except BusyError:
            pass
        except OSError as error:
            self.say(f"{run.name}: {error.filename or folder_of(run).path}: {error.strerror}")

    def say(self, message: str) -> None:
        """Tell the user something that is no failure but wants to be known."""
        for line in message.splitlines():
            # A command is for copying: the terminal breaks it, and nobody else.
            self.console.print(line, style="yellow", markup=False, soft_wrap="python -m " in line)

    def feed(self, launcher: LocalLauncher | RayLauncher) -> None:
        """Run everything, with MLflow's feeder at work beside it."""
        self.feeder.start()
        patience = tracking.CLOSE_SECONDS
        try:
            self.note_unavailable()
            self.watch_what_is_done()
            epochs = sum(run.config.trainer.epochs for run in self.to_do)
            with Display(self.console, len(self.to_do), epochs, self.count_ended()) as display:
                launcher.execute(self.to_do, display)
        except KeyboardInterrupt:
            patience = tracking.AFTER_INTERRUPT_SECONDS
            raise
        finally:
            messages = self.feeder.close(patience)
            self.delivered = not messages
            for message in messages:
                self.say(message)

    def count_ended(self) -> int:
        """How many of the runs that are asked for have come to their end before this call."""
        to_do = {run.fingerprint for run in self.to_do}
        return len({run.fingerprint for plan in self.plans for run in plan.runs if run.unavailable is None} - to_do)

    def watch_what_is_done(self) -> None:
        """Have all that the closing tables count delivered, so that MLflow's report counts the same.

        What is finished costs nothing, so it is delivered where it was not asked for, too: a declared seed that another
        ablation ran, or what a tracking database that is new does not know.
        """
        to_do = {run.fingerprint for run in self.to_do}
        for plan, counted in zip(self.plans, self.counted, strict=True):
            for run in counted:
                if run.fingerprint not in to_do and (run in plan.runs or is_finished(run)):
                    with self.left_alone_if_unusable(run):
                        self.watch(run, standing_folder(run))

    def claim(self, run: Run) -> Claim | Refusal:
        """Claim a run and make its folder ready: for the next process of its attempt, or for a new attempt."""
        if self.is_settled(run):
            return self.settle(run)
        claim = self.claims.take(folder_of(run))
        if claim is None:
            return Refusal.busy
        try:
            if not self.is_settled(run):
                self.make_ready(run)
                return claim
        except BaseException:
            claim.release()
            raise
        claim.release()
        return self.settle(run)

    def settle(self, run: Run) -> Refusal:
        """Another call has brought a run to its end."""
        self.settled.add(run.fingerprint)
        self.watch(run, folder_of(run))
        return Refusal.settled

    def is_settled(self, run: Run) -> bool:
        """Whether another call has brought the run to an end since this one made its plan, or since it lost the run."""
        if run.fingerprint in self.begun:
            return folder_of(run).state in ("finished", "diverged")
        return self.preparation(run).is_settled()

    def preparation(self, run: Run) -> Preparation:
        """How a run's folder is to be made ready."""
        return Preparation(
            run=run,
            precision=build.resolve_precision(run.config, self.lookup.resolve_device(run.config)),
            may_continue=not self.request.rerun,
            # To train again means not to take over what was trained before this call.
            trained_since=self.started if self.request.rerun else 0.0,
            request=self.describe_request(run),
            before=self.before.get(run.fingerprint, {}),
        )

    def make_ready(self, run: Run) -> None:
        """The run's folder for its next process; the caller has claimed it."""
        folder, is_begun = folder_of(run), run.fingerprint in self.begun
        preparation = self.preparation(run)
        if not is_begun and preparation.goes_on(is_begun=False):
            self.tell_of_continuing(run, folder.state, folder.reason)
        earlier = preparation.make_ready(is_begun=is_begun)
        self.note_ready(run, earlier)

    def note_ready(self, run: Run, earlier: RunFolder | None) -> None:
        """The run's folder is ready.  earlier: what was set aside for that."""
        if earlier:
            self.watch(run, earlier)
        self.begun.add(run.fingerprint)
        self.watch(run, folder_of(run))

    def assign(self, run: Run) -> Assignment:
        """What a node of the cluster is told of a run."""
        return Assignment(self.preparation(run), self.identity, str(Path.cwd()))

    def note_beginning(self, run: Run, beginning: Beginning | None) -> None:
        """A node has begun a run; None: it was brought to its end by another call."""
        if beginning is None:
            self.settle(run)
            return
        if run.fingerprint not in self.begun and beginning.continues:
            self.tell_of_continuing(run, *beginning.continues)
        self.note_ready(run, RunFolder(Path(beginning.earlier)) if beginning.earlier else None)

    def tell_of_continuing(self, run: Run, state: str, reason: str | None) -> None:
        """Say that a run goes on that an earlier call began."""
        was = "lost: its process is gone" if state == "running" else f"{state}: {reason}"
        self.console.print(Text(f"goes on   {run.name}, which was {was}"), soft_wrap=True)

    def watch(self, run: Run, folder: RunFolder) -> None:
        """Have a folder delivered to every ablation of this call that counts the run."""
        for plan, experiment, counted in zip(self.plans, self.experiments, self.counted, strict=True):
            for same in (other for other in counted if other.fingerprint == run.fingerprint):
                delivery = tracking.Delivery(
                    folder=folder.path,
                    experiment=experiment,
                    arm=same.arm,
                    seed=same.seed,
                    factor=", ".join(plan.ablation.definition.factors),
                    fingerprint=same.fingerprint,
                    plan=plan.plan,
                )
                folder.note_experiment(experiment.name, tracking.note_of(delivery))
                self.feeder.watch(delivery)

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
            with self.left_alone_if_unusable(run), self.claimed(run):
                if folder_of(run).state == "new":
                    set_aside(folder_of(run))
                    folder = start_attempt(run, run.config.trainer.precision, request=self.describe_request(run))
                    folder.set_state("missing", run.unavailable)
