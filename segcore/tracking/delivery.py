"""Bringing MLflow up to date with a run's folder, again and again, without saying anything twice."""

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from segcore.credentials import clean_log
from segcore.tracking.folder import FINAL_STATUS, Record, RunFiles, is_attempt, read_run
from segcore.tracking.lease import delivering
from segcore.tracking.models import deliver_model
from segcore.tracking.records import dataset_of, metrics_of, milliseconds, params_of, results_of, tags_of
from segcore.tracking.runs import BEST_WEIGHTS, find_runs
from segcore.tracking.store import ExperimentInfo, beside_others, ensure_experiment

# MLflow's own limits for one request.
MAX_METRICS = 1_000
MAX_PARAMS_OR_TAGS = 100
# A record counts as delivered when its step is in the history of this metric.
EPOCH_MARKER = "train/loss"
SYSTEM_MARKER = "system/cpu_utilization_percentage"
# The tag that tells how much of the log MLflow has.
LOG_BYTES = "log_bytes"


@dataclass(frozen=True)
class Delivery:
    """A run's folder, and what the ablation that asks for it calls the run.

    One folder can belong to several ablations, or to several arms of one: each is a delivery of its own.
    """

    folder: Path
    experiment: ExperimentInfo
    arm: str
    seed: int
    factor: str
    fingerprint: str
    plan: str

    def identity(self) -> dict[str, str]:
        """Name and tags that set the run apart."""
        return {
            "name": f"{self.arm}, seed {self.seed}",
            "arm": self.arm,
            "seed": str(self.seed),
            "factor": self.factor,
            "fingerprint": self.fingerprint,
            "plan": self.plan,
        }


def deliver(delivery: Delivery, client: MlflowClient) -> bool:
    """Brings MLflow up to date with a run's folder; returns whether nothing is left to deliver.

    May be called at any time, by any process: what stands in MLflow is not sent again.  Makes the experiment where it
    is missing.  Raises DeliveredElsewhere while another process is at it, and whatever MLflow, its database or its
    artifact store raise.
    """
    if not (delivery.folder / "run.json").exists():
        return False
    with delivering(delivery.folder):
        files = read_run(delivery.folder)
        try:
            return files is not None and _deliver(delivery, _experiment_id(client, delivery.experiment), files, client)
        except Exception:
            _experiment_id.cache_clear()  # a server may come back with another database
            raise


@lru_cache(maxsize=128)
def _experiment_id(client: MlflowClient, experiment: ExperimentInfo) -> str:
    """Asked once for each client, because every round of the Feeder needs it."""
    return ensure_experiment(experiment, client)


def _deliver(delivery: Delivery, experiment_id: str, files: RunFiles, client: MlflowClient) -> bool:
    attempts, run = _find(delivery, experiment_id, files, client)
    if run is not None and _is_delivered(run, files):
        return True
    origin = _origin(attempts, run)
    run = run or _create(client, experiment_id, delivery, files, origin)
    if run.info.status != "RUNNING":
        client.update_run(run.info.run_id, status="RUNNING")  # an interrupted one that was continued
    _deliver_description(client, run, delivery, files)
    _deliver_new(client, run, files.epochs, EPOCH_MARKER)
    _deliver_new(client, run, files.system, SYSTEM_MARKER)
    return files.state in FINAL_STATUS and _finish(client, run, delivery, files, origin)


def _find(
    delivery: Delivery, experiment_id: str, files: RunFiles, client: MlflowClient
) -> tuple[list[Run], Run | None]:
    """All runs of the attempt, and which of them is this delivery's.

    Two may be where one should: a request to create it was given up, and carried out all the same; or a lease was lost.
    Every process keeps the same one of them, and nothing is lost with the others, for all of it lies in the folder.
    """
    attempts = find_runs(client, f"tags.attempt = '{files.attempt}'")
    found = [attempt for attempt in attempts if _is_run_of(attempt, delivery, experiment_id)]
    if not found:
        return attempts, None
    kept, *doubled = sorted(found, key=lambda run: (run.info.status == "RUNNING", run.info.start_time, run.info.run_id))
    for other in doubled:
        client.delete_run(other.info.run_id)
        attempts.remove(other)
        for copy in attempts:
            if copy.data.tags.get("reused_from") == other.info.run_id:
                client.set_tag(copy.info.run_id, "reused_from", kept.info.run_id)
    return attempts, kept


def is_delivered(delivery: Delivery, client: MlflowClient) -> bool:
    """Whether MLflow holds all of a delivery, which has ended; changes nothing."""
    files, experiment = read_run(delivery.folder), client.get_experiment_by_name(delivery.experiment.name)
    if files is None or experiment is None:
        return False
    attempts = find_runs(client, f"tags.attempt = '{files.attempt}'")
    own = [run for run in attempts if _is_run_of(run, delivery, experiment.experiment_id)]
    return any(_is_delivered(run, files) for run in own)


def _is_run_of(run: Run, delivery: Delivery, experiment_id: str) -> bool:
    tags = run.data.tags
    place = (run.info.experiment_id, tags.get("arm"), tags.get("seed"))
    return place == (experiment_id, delivery.arm, str(delivery.seed))


def _is_delivered(run: Run, files: RunFiles) -> bool:
    """Ending the run is the last step of a delivery, so an ended run is whole; unless it, or its log, went on since."""
    ended = (run.info.status, run.info.end_time)
    log_bytes = run.data.tags.get(LOG_BYTES, str(files.log_bytes))
    return ended == (FINAL_STATUS.get(files.state), milliseconds(files.ended)) and log_bytes == str(files.log_bytes)


def _origin(attempts: Sequence[Run], run: Run | None) -> Run | None:
    """The run that a copy is a copy of; None for the first run of a training."""
    if run is not None and "reused_from" not in run.data.tags:
        return None
    return next((other for other in attempts if "reused_from" not in other.data.tags), None)


def _create(client: MlflowClient, experiment_id: str, delivery: Delivery, files: RunFiles, origin: Run | None) -> Run:
    tags = tags_of(files, delivery.identity(), origin.info.run_id if origin else None)
    return client.create_run(experiment_id, milliseconds(files.started), tags, tags["mlflow.runName"])


def _deliver_description(client: MlflowClient, run: Run, delivery: Delivery, files: RunFiles) -> None:
    """Params once, tags that changed, the dataset once."""
    tags = tags_of(files, delivery.identity(), run.data.tags.get("reused_from"))
    for stale in ("reason", "log_tail", "git_diff"):  # of a run that was continued
        if stale in run.data.tags:
            tags.setdefault(stale, "")
    new_tags = [RunTag(key, value) for key, value in tags.items() if run.data.tags.get(key) != value]
    new_params = [Param(key, value) for key, value in params_of(files).items() if key not in run.data.params]
    for start in range(0, len(new_params), MAX_PARAMS_OR_TAGS):
        client.log_batch(run.info.run_id, params=new_params[start : start + MAX_PARAMS_OR_TAGS])
    if new_tags:
        client.log_batch(run.info.run_id, tags=new_tags)
    if files.data and not (run.inputs and run.inputs.dataset_inputs):
        # With the first run of an experiment that has it, MLflow makes it.
        beside_others(lambda: client.log_inputs(run.info.run_id, [dataset_of(files)]))


def _deliver_new(client: MlflowClient, run: Run, records: Sequence[Record], marker: str) -> None:
    """The metrics of those records whose step is not in the history of `marker`."""
    if not records:
        return
    known = {metric.step for metric in client.get_metric_history(run.info.run_id, marker)}
    _send(client, run, metrics_of(record for record in records if record.step not in known))


def _send(client: MlflowClient, run: Run, groups: Iterable[list[Metric]]) -> None:
    """Sends groups of metrics in as few requests as MLflow allows; a group arrives whole or not at all."""
    waiting: list[Metric] = []
    for group in groups:
        if len(waiting) + len(group) > MAX_METRICS:
            client.log_batch(run.info.run_id, waiting)
            waiting = []
        waiting += group
    if waiting:
        client.log_batch(run.info.run_id, waiting)


def deliver_log(client: MlflowClient, run_id: str, log: Path) -> None:
    """The log, without lines that look as if they held a credential."""
    if log.exists():
        with tempfile.TemporaryDirectory() as place:
            cleaned = Path(place) / log.name
            cleaned.write_text(clean_log(log.read_text(encoding="utf-8", errors="replace")), encoding="utf-8")
            client.log_artifact(run_id, str(cleaned))


def _finish(client: MlflowClient, run: Run, delivery: Delivery, files: RunFiles, origin: Run | None) -> bool:
    """Artifacts, model, results, and as the last thing the end of the run; returns whether it came to that.

    It does not where the next attempt was begun in this folder meanwhile: where this one was moved to it is delivered.
    """
    run_id, folder = run.info.run_id, delivery.folder
    if origin is not None:
        # The copy refers to the origin's model and weights, so that one has to be whole first.
        _deliver(_delivery_of(origin, delivery), origin.info.experiment_id, files, client)
    if (folder / "artifacts").is_dir():
        client.log_artifacts(run_id, str(folder / "artifacts"))
    deliver_log(client, run_id, folder / "log.txt")
    if origin is None and (folder / BEST_WEIGHTS).exists():
        client.log_artifact(run_id, str(folder / BEST_WEIGHTS))
    # With its params and tags, which the model takes over.
    run = client.get_run(run_id)
    if not is_attempt(folder, files.attempt):
        return False
    # Before its end a run may still be at work on it.
    model_id = deliver_model(client, run, files.attempt, folder / "model") if files.state == "finished" else None
    _send(client, run, [results_of(files, model_id if origin is None else None)])
    _supersede(client, run, delivery, files.state)
    if not is_attempt(folder, files.attempt):
        return False
    if model_id is not None:
        shutil.rmtree(folder / "model", ignore_errors=True)  # after this it lives in MLflow
    client.set_tag(run_id, LOG_BYTES, str(files.log_bytes))
    client.set_terminated(run_id, FINAL_STATUS[files.state], milliseconds(files.ended))
    return True


def _supersede(client: MlflowClient, run: Run, delivery: Delivery, state: str) -> None:
    """Tags the attempts before the newest finished one with its id, so that they can be left out of averages.

    Looks both ways, because an older attempt may be delivered after a newer one.
    """
    found = find_runs(client, f"tags.fingerprint = '{delivery.fingerprint}'")
    attempts = [other for other in found if _is_run_of(other, delivery, run.info.experiment_id)]
    ends = {other.info.run_id: other.info.status for other in attempts} | {run.info.run_id: FINAL_STATUS[state]}
    finished = [position for position, other in enumerate(attempts) if ends[other.info.run_id] == "FINISHED"]
    for other in attempts[: max(finished, default=0)]:
        newest = attempts[finished[-1]].info.run_id
        if other.data.tags.get("superseded_by") != newest:
            client.set_tag(other.info.run_id, "superseded_by", newest)


def _delivery_of(origin: Run, copy: Delivery) -> Delivery:
    """What brings the origin's run up to date, from the folder of its copy; its experiment is known by its id."""
    tags = origin.data.tags
    return replace(copy, arm=tags["arm"], seed=int(tags["seed"]), factor=tags["factor"], plan=tags["plan"])
