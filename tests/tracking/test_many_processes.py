"""Several processes deliver at once, or are killed while they do: each run once, each epoch once."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from segcore import tracking
from tests.deliverers import expected, histories, hold, kill_some, start, write_runs


def test_four_writers_on_one_sqlite_file(project: Path, client: MlflowClient) -> None:
    """Each delivers a run of its own, and all of them one more."""
    folders = write_runs(project, num_runs=5, num_epochs=20)
    paths, uri = [folder.path for folder in folders], tracking.tracking_uri()
    writers = [start([paths[place], paths[4]], uri) for place in range(4)]
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert histories() == expected(5, 20)


def test_deliveries_that_are_killed_at_any_moment_are_completed(project: Path, client: MlflowClient) -> None:
    folders = write_runs(project, num_runs=3, num_epochs=20)
    paths, uri = [folder.path for folder in folders], tracking.tracking_uri()
    assert kill_some(paths, uri, num_kills=4, seconds=1.2, seed=5) > 0
    last = start(paths, uri)
    last.join()
    assert last.exitcode == 0
    assert histories() == expected(3, 20)
    assert not list((project / "runs").glob("*/delivery*"))


def test_a_folder_that_another_process_delivers_is_let_be_until_that_is_dead(
    project: Path, client: MlflowClient
) -> None:
    [folder] = write_runs(project, num_runs=1, num_epochs=3)
    delivery = folder.note("lr_sweep", seed=0)
    holder = hold(folder.path)
    with pytest.raises(tracking.DeliveredElsewhere):
        tracking.deliver(delivery, client)
    feeder = tracking.Feeder(client, interval_seconds=0.05)
    feeder.watch(delivery)
    feeder.start()
    [busy, _] = feeder.close(timeout_seconds=0.3)
    assert busy == "MLflow did not take lr 1e-3, seed 0: another process is delivering it"
    feeder.join()
    assert client.get_experiment_by_name("lr_sweep") is None
    holder.kill()
    holder.join()
    assert tracking.deliver(delivery, client)
    assert histories() == expected(1, 3)
