"""What a call of `runner.py` does: plans, trains what is missing, and shows what came out.

Apart from `runner.py`, because its imports take seconds.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from rich.console import Console

from analysis.definition import Definition, parse_definition
from analysis.planning import outlook
from analysis.terminal import show_outlooks, show_verdicts
from analysis.untrained import describe_untrained, trivial_dice
from analysis.verdicts import judge
from segcore import tracking
from segcore.execution import folder as folders
from segcore.execution.attempts import UNFINISHED
from segcore.execution.comparison import Match
from segcore.execution.folder import folder_of
from segcore.execution.listing import list_ablations
from segcore.execution.nursery import Nursery
from segcore.execution.overview import describe_whole, show_plan
from segcore.execution.pace import read_paces
from segcore.execution.planning import Lookup, describe_experiment, find_runs_to_do, make_plans
from segcore.execution.ray_cluster import Cluster, open_cluster
from segcore.execution.reproduction import compare_with, prepare, require_same_data, train
from segcore.execution.reproduction_report import show_comparison, show_differences, write_comparison
from segcore.execution.request import Launcher, Request
from segcore.execution.session import Session
from segcore.execution.standing import is_finished as is_settled
from segcore.execution.standing import seeds_after, standing_digest, standing_folder, standing_rows, standing_runs
from segcore.execution.terminal import PRIMARY, results_tables
from segcore.leases import make_lease
from segcore.plan import Plan, Run, digest

FINISHED, SOME_FAILED, INTERRUPTED = 0, 1, 130


def list_all(request: Request, console: Console) -> int:
    """Show the ablations that there are; the exit status."""
    console.print(list_ablations(request))
    return FINISHED


def look_ahead(request: Request, calibrate: bool, console: Console) -> int:
    """Show what the request would do, cost, and be able to decide; the exit status."""
    lookup = Lookup(may_download=False)
    with cluster_of(request, console, may_start=False) as cluster:
        if cluster is not None:
            lookup.resolve_device = cluster.resolve_device
        elif request.launcher == Launcher.ray:
            console.print("Ray: no cluster runs here; the call would start one on this machine.")
        plans = make_plans(request, lookup)
    paces = read_paces()
    if calibrate:
        # Not at the top: its libraries take a second, and trainings do not need it.
        from segcore.execution.calibration import calibrate_unknown

        paces = calibrate_unknown(find_runs_to_do(plans, request.rerun), paces, lookup, console)
    for plan in plans:
        console.print(show_plan(plan, request, lookup, paces))
        epochs = max(config.trainer.epochs for config, _ in plan.arms.values())
        console.print(show_outlooks(outlook(definition_of(plan), seeds_after(plan), frame_of(plan), epochs)))
    console.print(describe_whole(plans, request, lookup, paces), markup=False, highlight=False)
    return FINISHED


def run_on_ray(request: Request, console: Console) -> int:
    """Execute the request on a Ray cluster and show what came out; the exit status."""
    with cluster_of(request, console, may_start=True) as cluster:
        return run(request, console, None, cluster)


@contextlib.contextmanager
def cluster_of(request: Request, console: Console, may_start: bool) -> Iterator[Cluster | None]:
    """The Ray cluster of a request; None where it asks for none, or where there is none and none may be started."""
    if request.launcher != Launcher.ray:
        yield None
        return
    with open_cluster(request.address, partial(console.print, markup=False, highlight=False), may_start) as cluster:
        yield cluster


def run(request: Request, console: Console, nursery: Nursery | None, cluster: Cluster | None = None) -> int:
    """Execute the request and show what came out; the exit status.

    nursery: forks the workers.  cluster: computes the runs in place of this machine.
    """
    lookup = Lookup()
    if cluster is not None:
        lookup.resolve_device = cluster.resolve_device
    plans = make_plans(request, lookup)
    session = Session(request, plans, lookup, console, nursery, cluster)
    session.prepare_data()
    session.execute()
    for plan in plans:
        console.print(results_tables(plan))
        console.print(show_verdicts(judge(definition_of(plan), frame_of(plan))))
        for note in describe_untrained(*finished_runs(plan), PRIMARY):
            console.print(f"{note}.\n", style="yellow", markup=False, highlight=False)
        if request.report and session.delivered:
            report(plan, console)
        elif request.report:
            missing = (
                f"The report of {plan.ablation.experiment} was not made: MLflow does not have all of its runs yet."
            )
            console.print(f"{missing} {same_command(request)} makes it then.", style="yellow", markup=False)
    console.print(describe_call(session, plans), markup=False, highlight=False)
    return FINISHED if all(is_finished(plan) for plan in plans) else SOME_FAILED


def reproduce(run: str, request: Request, dry_run: bool, console: Console, nursery: Nursery | None) -> int:
    """Train a tracked run anew and compare it with what MLflow holds of it; the exit status.

    dry_run: only show what is not as it was.
    """
    reproduction = prepare(run, request.overrides, console)
    console.print(show_differences(reproduction))
    require_same_data(reproduction)
    if dry_run:
        return FINISHED
    try:
        folder = train(reproduction, console, nursery, request.retries)
    except KeyboardInterrupt:
        print("interrupted: what was trained is saved, nothing was compared; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    comparison = compare_with(reproduction, folder)
    write_comparison(reproduction, comparison, folder)
    console.print(show_comparison(comparison, folder))
    changed = [difference.what for difference in reproduction.differences if difference.can_change]
    if comparison.match != Match.equal and changed:
        console.print(f"Not as it was, and able to change the numbers: {', '.join(changed)}.", markup=False)
    return FINISHED if comparison.is_reproduced else SOME_FAILED


def definition_of(plan: Plan) -> Definition:
    """The ablation's definition in the analysis's terms."""
    definition = json.loads(describe_experiment(plan.ablation).definition)
    return parse_definition(definition, plan.ablation.source)


def frame_of(plan: Plan) -> pd.DataFrame:
    """How the ablation stands: arm, seed, state, reason and metrics of each run, from the runs' folders."""
    return pd.DataFrame(standing_rows(plan))


def finished_runs(plan: Plan) -> tuple[pd.DataFrame, float | None]:
    """The finished runs, and the test Dice of calling every pixel pet, which the images of the first of them tell."""
    runs = frame_of(plan)
    finished = runs[runs["state"] == "finished"]
    for run in (run for run in standing_runs(plan) if is_settled(run)):
        table = standing_folder(run).artifacts / "test_per_image.parquet"
        with contextlib.suppress(OSError, ValueError):  # it is missing, or damaged
            return finished, trivial_dice(pd.read_parquet(table).assign(arm=run.arm, seed=run.seed))
    return finished, None


def report(plan: Plan, console: Console) -> None:
    """Keep the ablation's report in MLflow, unless nothing has changed since the last; a failure is told, no more.

    Of several calls that end at once one makes it, and the others find it made.
    """
    experiment = plan.ablation.experiment
    try:
        client = tracking.tracking_client()
        source = digest([standing_digest(plan), code_of_analysis()])
        if not tracking.is_summary_of(experiment, source, client):
            with console.status("writing the report"), make_lease(folders.RUNS / f"report-{experiment}.lock"):
                if not tracking.is_summary_of(experiment, source, client):
                    renew_report(experiment, plan.plan, source, client)
    # MLflow, its database and its artifact store raise errors of many kinds; the runs are finished all the same.
    except Exception as error:
        console.print(
            f"The report of {experiment} was not made: {tracking.first_line(error)}", style="yellow", markup=False
        )
    else:
        console.print(
            f"The report is in MLflow: run `report` of experiment {experiment}.", markup=False, highlight=False
        )


def renew_report(experiment: str, plan: str, source: str, client: MlflowClient) -> None:
    """Make the report and deliver it.  plan: hash of the plan whose runs count.  source: see `deliver_summary`."""
    # Not at the top: its figures take seconds to import, and most calls have nothing new to report.
    from analysis.report import write_report
    from analysis.reporting.escape import prose_markdown

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "report"
        sentences = map(prose_markdown, write_report(client, [experiment], folder, plan=plan))
        tracking.deliver_summary(experiment, folder, list(sentences), source, client)


def code_of_analysis() -> str:
    """A hash of what makes the report, so that a newer version makes it anew."""
    folder = Path(__file__).parent / "analysis"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return digest([(str(path.relative_to(folder)), path.read_bytes().hex()) for path in files])


def describe_call(session: Session, plans: Sequence[Plan]) -> str:
    """What became of the runs that were to do, or of all before, and what to do next."""
    runs, num_settled = session.to_do, len(session.settled)
    ended = count_states(runs) + (f" ({num_settled} of them by another call)" if num_settled else "")
    if not runs:
        before = {run.fingerprint: run for plan in plans for run in plan.runs}
        ended = f"nothing to train; before it {count_states(list(before.values()))}"
    where = "" if os.environ.get("MLFLOW_TRACKING_URI") else " `mlflow ui` in this folder compares all runs."
    again = f" {same_command(session.request)} goes on with what is not finished." if any(map(may_go_on, runs)) else ""
    return f"This call: {ended}.{again}{where}"


def may_go_on(run: Run) -> bool:
    """Whether the next call does something about a run."""
    return folder_of(run).state in ("new", *UNFINISHED)


def same_command(request: Request) -> str:
    """How a call goes on: with --rerun it would begin anew what it has just begun."""
    return "The same command without --rerun" if request.rerun else "The same command"


def count_states(runs: Sequence[Run]) -> str:
    """`3 finished, 1 diverged`."""
    states = [folder_of(run).state for run in runs]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def is_finished(plan: Plan) -> bool:
    """Whether every run of the plan is."""
    return all(folder_of(run).state == "finished" for run in plan.runs)
