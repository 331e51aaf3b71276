"""Training a tracked run anew from what MLflow holds, and comparing: `runner.py --reproduce RUN`.

Nothing of it goes to MLflow.  It has a folder of its own, `runs/reproductions/FINGERPRINT-RUN/`, which no ablation
counts and no training is taken over from or into.
"""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from segcore import build, tracking
from segcore.ablation import parse_overrides
from segcore.checkpoint import read_checkpoint
from segcore.config import Layer, Problems, RunConfig, nest, resolve
from segcore.data import DataIndex
from segcore.definition import in_factor
from segcore.errors import UserError
from segcore.execution.attempts import can_continue, continue_attempt, set_aside, start_attempt
from segcore.execution.claims import Claim, wait_for_claim
from segcore.execution.comparison import Comparison, Outcome, compare
from segcore.execution.devices import Devices
from segcore.execution.differences import Difference, Side, find_differences
from segcore.execution.environment import git_diff, installed_packages
from segcore.execution.folder import REPRODUCTIONS, RunFolder, folder_of, make_runs_folder
from segcore.execution.local import LocalLauncher, Refusal
from segcore.execution.notices import notices
from segcore.execution.nursery import Nursery
from segcore.execution.parts import describe_part
from segcore.execution.planning import Lookup
from segcore.execution.terminal import Display, show_decoding
from segcore.leases import LEASE_SECONDS
from segcore.plan import RECIPE_VERSION, WITHOUT_EFFECT, Facts, Run, make_run
from segcore.stored_settings import parse_stored
from segcore.tracking import RecordedRun

# What says how the data is read, or made: its content would have to be the same anyway.
FIXED = ("data.format", "data.synthetic_images")
# Long enough for the claim of a machine that is gone to expire.
WAITING_SECONDS = LEASE_SECONDS + 15.0
# What a training that was cut short has to be gone on with to be one training: else it begins anew.
SHARED = ("git_commit", "git_diff", "packages", "processor", "device", "threads")
ALLOWED = tuple(key for key in WITHOUT_EFFECT if key not in FIXED)


@dataclass(frozen=True)
class Reproduction:
    """A run that is to be trained again, and what is not as it was.

    run: with the folder's name in place of the fingerprint.  outcome: what it gave then.
    """

    recorded: RecordedRun
    run: Run
    outcome: Outcome
    then: Side
    now: Side
    differences: tuple[Difference, ...]

    @property
    def title(self) -> str:
        """The run in MLflow: experiment, name, and the beginning of its id."""
        return f"{self.recorded.experiment}/{self.recorded.name} ({self.recorded.run_id[:8]})"

    @property
    def is_same_data(self) -> bool:
        """Whether the data's content is what it was, or nothing tells that it is not."""
        return all(difference.what != "data content" for difference in self.differences)


def prepare(run: str, overrides: Sequence[str], console: Console) -> Reproduction:
    """Read a run back from MLflow, find its data, and look for everything that is not as it was.

    Raises UserError where the run cannot be trained here, or where an override would make it another one.
    """
    changes = parse_overrides(overrides)
    check_overrides(changes)
    with tempfile.TemporaryDirectory() as place:
        with console.status("reading the run from MLflow"):
            recorded = tracking.read_recorded(run, Path(place))
        before = outcome_then(recorded)
    if recorded.state == "missing":
        raise UserError(f"run {run} never ran, so there is nothing to reproduce: {recorded.reason}")
    source = f"run {recorded.name} ({recorded.run_id[:8]}) in MLflow"
    original = read_settings(recorded, source)
    config = as_then(original, changes, recorded, source)
    device = build.resolve_device(config)
    if reason := build.why_unavailable(config, device):
        raise UserError(f"{source}: cannot be trained here: {reason}")
    index = Lookup().index(config)
    packages, diff = installed_packages(), git_diff()
    then = Side(recorded.tags, recorded.diff, recorded.packages, recorded.data, original.flat())
    now = Side(
        environment=describe_part(device, build.resolve_threads(config), packages, diff),
        diff=diff,
        packages=packages,
        data=read_data(config, index, console),
        settings=config.flat(),
    )
    same = make_run(recorded.tags.get("arm", recorded.name), config, facts(config, index.fingerprint))
    differences = [*recipe_differences(recorded, same), *find_differences(then, now)]
    name = f"{REPRODUCTIONS}/{same.fingerprint}-{recorded.run_id[:12]}"
    # Another training fingerprint, too, so that it neither takes over a training nor gives one.
    again = replace(same, fingerprint=name, training_fingerprint=name)
    return Reproduction(recorded, again, before, then, now, tuple(differences))


def check_overrides(changes: Layer) -> None:
    """Raises UserError for settings that would make it another run."""
    for key in changes.values:
        if not in_factor(key, ALLOWED):
            raise UserError(
                f"{changes.source}: {key} cannot be changed: --reproduce trains with the settings that the run had. "
                f"Only what does not change a result can be given: {', '.join(ALLOWED)}"
            )


def read_settings(recorded: RecordedRun, source: str) -> RunConfig:
    """The settings that the run had.  Raises UserError where this version of the suite cannot read them."""
    if not recorded.settings:
        raise UserError(f"{source}: holds no settings: it did not come so far, so there is nothing to reproduce")
    try:
        return parse_stored(nest(recorded.settings))
    except ValidationError as errors:
        first = errors.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{source}: {key}: {first['msg']}: its settings are of another version of the suite; check out the commit "
            f"that it was trained at ({recorded.tags.get('git_commit', 'unknown')})"
        ) from None


def as_then(original: RunConfig, changes: Layer, recorded: RecordedRun, source: str) -> RunConfig:
    """The settings with changes over them.  `auto` threads are as many as then, and what ran on a CPU does again."""
    settings = {key: value for key, value in original.flat().items() if key != "seed"}
    threads = recorded.tags.get("threads", "")
    if settings["execution.threads"] == "auto" and threads.isdecimal():
        settings["execution.threads"] = int(threads)
    if settings["execution.device"] == "auto" and recorded.tags.get("device") == "cpu":
        settings["execution.device"] = "cpu"
    problems = Problems()
    config = resolve([Layer(source, settings), changes], original.seed, problems)
    problems.raise_any()
    assert config is not None
    return config


def facts(config: RunConfig, data_fingerprint: str) -> Facts:
    """What enters a fingerprint beside the settings; the precision of a tracked run is resolved."""
    return Facts(data_fingerprint, config.trainer.precision)


def read_data(config: RunConfig, index: DataIndex, console: Console) -> dict[str, Any]:
    """The data as it is here, in the words of a recorded run; decoded into the cache where it is not there yet."""
    with Progress(console=console, transient=True) as progress:
        size = config.data.image_size
        task = progress.add_task(f"decoding to {size} x {size}", total=None)
        data = build.build_data(config, index, partial(show_decoding, progress, task), verify=True)
    return {
        "fingerprint": data.fingerprint,
        "sizes": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "skipped": len(data.skipped),
        "skipped_files": [f"{item.name}: {item.reason}" for item in data.skipped],
    }


def recipe_differences(recorded: RecordedRun, now: Run) -> list[Difference]:
    """Whether settings and data make the fingerprint that they made then; if not, what of them does not."""
    then = recorded.tags["fingerprint"]
    known = recorded.data.get("fingerprint", now.data_fingerprint)
    if make_run(now.arm, now.config, facts(now.config, known)).fingerprint == then:
        return []
    what = "recipe" if recorded.data else "recipe or data"
    here = f"version {RECIPE_VERSION}: fingerprint {now.fingerprint}"
    return [Difference(what, f"fingerprint {then}", here, True)]


def require_same_data(reproduction: Reproduction) -> None:
    """Raises UserError where the data's content is another one."""
    if reproduction.is_same_data:
        return
    changed = [
        f"{difference.what} {difference.then} then, {difference.now} now"
        for difference in reproduction.differences
        if difference.what in ("data content", "images", "skipped files")
    ]
    root = reproduction.run.config.data.root
    raise UserError(
        f"{reproduction.title}: data.root={root} does not hold the data that it was trained on: {'; '.join(changed)}. "
        "Nothing was trained. Give the right folder with data.root=DIR"
    )


def train(reproduction: Reproduction, console: Console, nursery: Nursery | None, retries: int = 0) -> RunFolder:
    """Train it as any run is trained, in the folder that is returned; one that was cut short goes on.

    Where code, packages or machine are others by now, it begins anew: what is compared is one training.
    retries: how often it is tried again without having got further.  Raises UserError where another process has it.
    """
    make_runs_folder()
    run = reproduction.run

    def say(message: str) -> None:
        console.print(message, style="yellow", markup=False)

    for notice in notices([run], jobs=1):
        say(notice)
    # Waited for here: the launcher lets no signal through while it claims.
    claims = iter([claim_folder(run, WAITING_SECONDS, reproduction.now.environment)])
    with Display(console, num_runs=1, epochs_to_do=run.config.trainer.epochs) as display:
        launcher = LocalLauncher(
            1, lambda run: next(claims, None) or claim_again(run), Devices(1, say), nursery, retries
        )
        launcher.execute([run], display)
    return folder_of(run)


def claim_folder(run: Run, seconds: float = 0.0, environment: Mapping[str, Any] | None = None) -> Claim:
    """Claim the reproduction's folder and make it ready.  Raises UserError where another process has it.

    seconds: how long a claim whose owner may be dead is waited for.  environment: of now, where an earlier call may
    have begun it.
    """
    folder = folder_of(run)
    claim = wait_for_claim(folder, seconds)
    if claim is None:
        raise UserError(f"{folder.path}: another call is reproducing this run; wait for it")
    precision = run.config.trainer.precision
    before = folder.read("environment")
    is_of_now = environment is None or all(before[key] == environment.get(key) for key in SHARED if key in before)
    if can_continue(folder) and is_of_now:
        continue_attempt(run, precision)
    else:
        set_aside(folder)
        start_attempt(run, precision)
    return claim


def claim_again(run: Run) -> Claim | Refusal:
    """The same for another try; another call may have finished it, where this one was held up and lost it."""
    return Refusal.settled if folder_of(run).state in ("finished", "diverged") else claim_folder(run)


def outcome_then(recorded: RecordedRun) -> Outcome:
    """What a recorded run gave."""
    weights, best_epoch = hash_weights(recorded.weights)
    return Outcome(recorded.epochs, recorded.results, recorded.state, recorded.reason, weights, best_epoch)


def outcome_now(folder: RunFolder) -> Outcome:
    """What a run's folder tells."""
    weights, best_epoch = hash_weights(folder.checkpoint)
    return Outcome(
        epochs={line["epoch"]: line["metrics"] for line in folder.lines("epochs")},
        results=folder.read("results").get("metrics", {}),
        state=folder.state,
        reason=folder.reason,
        weights=weights,
        best_epoch=best_epoch,
    )


def hash_weights(file: Path | None) -> tuple[str | None, int | None]:
    """SHA-256 of a checkpoint's tensors, and its epoch; None for both where there is no file that can be read."""
    if file is None:
        return None, None
    try:
        tensors, metadata = read_checkpoint(file)
    except UserError:
        return None, None
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest(), metadata.get("epoch")


def compare_with(reproduction: Reproduction, folder: RunFolder) -> Comparison:
    """What was recorded, and what a training in the folder gave."""
    return compare(reproduction.outcome, outcome_now(folder))
