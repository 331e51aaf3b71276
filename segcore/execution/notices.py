"""What a call says of its runs before they start, and a look at the plan as well: no failures, but surprises."""

from collections.abc import Sequence

from segcore import build
from segcore.execution.attempts import is_wanted_anew
from segcore.execution.folder import folder_of
from segcore.plan import Plan, Run


def notices(runs: Sequence[Run], jobs: int) -> list[str]:
    """All that is to be said of runs that are to do, so many at a time."""
    return [text for text in (describe_crowding(runs, jobs), describe_compilation(runs)) if text]


def describe_crowding(runs: Sequence[Run], jobs: int) -> str | None:
    """What is to be said of CPU runs whose threads together are more than the cores; None where they are not."""
    own = [run.config for run in runs if build.resolve_device(run.config).type == "cpu"]
    jobs, cores = min(jobs, len(own)), build.count_cores()
    threads = max(map(build.resolve_threads, own), default=0)
    if jobs * threads <= cores:
        return None
    if threads > cores:
        return f"execution.threads={threads} on {cores} cores: more threads than cores make a run slower"
    share = cores // jobs
    advice = f"give each its share, execution.threads={share}" if share else f"say --jobs {cores}, with a thread each"
    return (
        f"--jobs {jobs} with {threads} thread{'s' * (threads != 1)} a run on {cores} cores: more threads than cores "
        f"are in each other's way; {advice}"
    )


def describe_compilation(runs: Sequence[Run]) -> str | None:
    """What is to be said of runs whose network is compiled; None where there are none."""
    if not any(run.config.trainer.compile is True for run in runs):
        return None
    return (
        "trainer.compile=true: each run compiles its network at its first step, which takes a minute or more; times "
        "that come from other runs do not know of it"
    )


def notices_of_earlier(plans: Sequence[Plan], to_do: Sequence[Run]) -> list[str]:
    """What is to be said of runs that an earlier call brought to an end, or wanted anew; nothing where all is usual."""
    left = {run.fingerprint: run for plan in plans for run in plan.runs}
    for run in to_do:
        left.pop(run.fingerprint, None)
    diverged = [run.name for run in left.values() if folder_of(run).state == "diverged"]
    anew = [run.name for run in to_do if is_wanted_anew(folder_of(run))]
    said = [f"{'; '.join(diverged)}: diverged before, and would again; --rerun trains them anew"] if diverged else []
    return said + ([f"{'; '.join(anew)}: trained anew, as an earlier --rerun has asked"] if anew else [])
