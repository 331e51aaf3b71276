"""The report of an ablation in MLflow: one run of an experiment that is no training."""

from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from segcore.tracking.address import tracking_uri
from segcore.tracking.records import user_name
from segcore.tracking.runs import SUMMARY
from segcore.tracking.store import MAX_DESCRIPTION, tracking_client

NAME = "report"
# A hash of what the report was made from.
SOURCE_TAG = "made_from"


def is_summary_of(experiment: str, source: str, client: MlflowClient | None = None) -> bool:
    """Whether the experiment holds a whole report that was made from `source`, a hash of the caller's."""
    client = client or tracking_client()
    found = client.get_experiment_by_name(experiment)
    run = _find(client, found.experiment_id) if found else None
    return run is not None and run.info.status == "FINISHED" and run.data.tags.get(SOURCE_TAG) == source


def deliver_summary(
    experiment: str, report: Path, sentences: Sequence[str], source: str, client: MlflowClient | None = None
) -> str:
    """Puts a report into its experiment, in place of the one before, and returns the id of its run.

    The run is told apart by the tag `summary`; it has neither arm nor seed, params nor metrics.
    report: a folder, whose files become the artifacts.  sentences: the verdicts, for the description.
    source: hash of what the report was made from, for `is_summary_of`.
    """
    client = client or tracking_client()
    found = client.get_experiment_by_name(experiment)
    assert found is not None, "a report is made of an experiment's runs"
    run = _find(client, found.experiment_id) or client.create_run(
        found.experiment_id,
        tags={SUMMARY: "true", "mlflow.user": user_name(), "mlflow.source.name": "runner.py"},
        run_name=NAME,
    )
    run_id = str(run.info.run_id)
    # Until it is whole, so that a delivery that is cut short is repeated.
    client.update_run(run_id, status="RUNNING")
    repository = get_artifact_repository(run.info.artifact_uri, tracking_uri=tracking_uri())
    _remove_stale(repository, report)
    client.log_artifacts(run_id, str(report))
    verdicts = "\n".join(f"- {sentence}" for sentence in sentences) or "This ablation declares no hypotheses."
    text = f"The whole report: `index.html` under *Artifacts*.\n\n{verdicts}"
    client.set_tag(run_id, "mlflow.note.content", text[:MAX_DESCRIPTION])
    client.set_tag(run_id, SOURCE_TAG, source)
    client.set_terminated(run_id)
    # Every process keeps the same one of them.
    kept, *doubled = _find_all(client, found.experiment_id)
    for other in doubled:
        client.delete_run(other.info.run_id)
    return str(kept.info.run_id)


def _find(client: MlflowClient, experiment_id: str) -> Run | None:
    """The report of an experiment."""
    found = _find_all(client, experiment_id)
    return found[0] if found else None


def _find_all(client: MlflowClient, experiment_id: str) -> list[Run]:
    """All its reports, the one that stays first: calls on machines that share no folder may make two at once."""
    found = client.search_runs([experiment_id], f"tags.{SUMMARY} = 'true'")
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))


def _remove_stale(repository: ArtifactRepository, report: Path, folder: str | None = None) -> None:
    """Deletes the artifacts of an earlier report that the new one does not have."""
    for item in repository.list_artifacts(folder):
        if item.is_dir and (report / item.path).is_dir():
            _remove_stale(repository, report, item.path)
        elif not (report / item.path).is_file():
            repository.delete_artifacts(item.path)  # type: ignore[no-untyped-call]
