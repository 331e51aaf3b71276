import time
from collections.abc import Callable
from typing import Any

import pytest
from mlflow import MlflowClient

from segcore import tracking
from segcore.tracking import feeder as feeders
from segcore.tracking.delivery import deliver
from segcore.tracking.feeder import Feeder


def test_runs_are_followed_to_their_end(
    make_folder: Callable[[str], Any], client: MlflowClient, experiment: str
) -> None:
    feeder = Feeder(interval_seconds=0.05)
    feeder.start()
    folder = make_folder("f1")
    feeder.watch(folder.delivery(experiment))
    folder.epoch(1)
    wait_until(lambda: client.search_runs([experiment], "metrics.`train/loss` = 1"))
    folder.epoch(2)
    folder.finish()
    assert feeder.close() == []
    assert not feeder.is_alive()
    [run] = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2]


def test_a_server_that_is_away_costs_only_delay(
    make_folder: Callable[[str], Any], client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = []

    def away(*_: Any, **__: Any) -> None:
        failures.append(1)
        raise ConnectionError("connection refused")

    folder = make_folder("f1")
    folder.epoch(1)
    feeder = Feeder(client, interval_seconds=0.05)
    feeder.watch(folder.delivery(experiment))
    with monkeypatch.context() as patch:
        patch.setattr(client, "log_batch", away)
        feeder.start()
        wait_until(lambda: len(failures) > 2)
        folder.epoch(2)
        folder.finish()
    assert feeder.close() == []
    [run] = client.search_runs([experiment])
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2]


def test_a_server_that_is_back_at_the_end_gets_its_time(
    make_folder: Callable[[str], Any], client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No delivery has come to its end before, and the first takes longer than one that is away is waited for."""
    monkeypatch.setattr(feeders, "AWAY_SECONDS", 0.2)
    away, folder = [True], make_folder("f1")
    folder.finish()

    def deliver_slowly(*arguments: Any) -> bool:
        if away:
            raise ConnectionError("connection refused")
        time.sleep(1)
        return deliver(*arguments)

    def ask(**_: Any) -> list[Any]:
        if away:
            raise ConnectionError("connection refused")
        return []

    feeder = Feeder(client, interval_seconds=0.05)
    feeder.watch(folder.delivery(experiment))
    with monkeypatch.context() as patch:
        patch.setattr(feeders, "deliver", deliver_slowly)
        patch.setattr(client, "search_experiments", ask)
        feeder.start()
        wait_until(lambda: feeder._absence)
        time.sleep(0.3)
        away.clear()
        wait_until(lambda: not feeder._absence)
        patch.undo()
        patch.setattr(feeders, "deliver", deliver_slowly)
        assert feeder.close() == []
    [run] = client.search_runs([experiment])
    assert run.info.status == "FINISHED"


def test_a_first_delivery_that_lasts_is_waited_for_where_the_server_answers(
    make_folder: Callable[[str], Any], client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeders, "AWAY_SECONDS", 0.2)
    begun, folder = [], make_folder("f1")
    folder.finish()

    def deliver_slowly(*arguments: Any) -> bool:
        begun.append(time.monotonic())
        time.sleep(1.5)
        return deliver(*arguments)

    monkeypatch.setattr(feeders, "deliver", deliver_slowly)
    feeder = Feeder(client, interval_seconds=0.05)
    feeder.watch(folder.delivery(experiment))
    feeder.start()
    wait_until(lambda: begun and time.monotonic() - begun[0] > 0.5)
    assert feeder.close() == []
    [run] = client.search_runs([experiment])
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("has_answered", [True, False])
def test_a_server_that_goes_and_comes_back_is_told_of_once(
    make_folder: Callable[[str], Any],
    client: MlflowClient,
    experiment: str,
    monkeypatch: pytest.MonkeyPatch,
    has_answered: bool,
) -> None:
    """That it was away from the beginning, the call has told itself."""
    told: list[str] = []
    folder = make_folder("f1")
    folder.epoch(1)
    feeder = Feeder(client, interval_seconds=0.02, tell=told.append)
    feeder.watch(folder.delivery(experiment))
    asked = []

    def away(*_: Any, **__: Any) -> None:
        asked.append(1)
        raise ConnectionError("connection refused")

    with monkeypatch.context() as patch:
        if has_answered:
            feeder.start()
            wait_until(lambda: client.search_runs([experiment], "metrics.`train/loss` = 1"))
        for name in ("search_experiments", "log_batch", "get_run", "get_experiment_by_name"):
            patch.setattr(client, name, away)
        if not has_answered:
            feeder.is_absence_told = True
            feeder.start()
        folder.epoch(2)
        wait_until(lambda: len(asked) > 4)
        assert len(told) == has_answered
    wait_until(lambda: len(told) == 1 + has_answered)
    assert feeder.close() == []
    assert told[-1] == "MLflow answers again, and gets what has waited."
    if has_answered:
        assert told[0].startswith("MLflow does not answer at sqlite:///") and "wait for it" in told[0]
    assert len(told) == 1 + has_answered


@pytest.mark.parametrize("error", [SystemExit(1), ValueError("closed")])
def test_a_console_that_nobody_reads_ends_no_delivery(
    make_folder: Callable[[str], Any], client: MlflowClient, experiment: str, error: BaseException
) -> None:
    def tell(_: str) -> None:
        raise error

    folder = make_folder("f1")
    folder.finish()
    feeder = Feeder(client, interval_seconds=0.02, tell=tell)
    feeder._tell_of(is_away=True)
    feeder.watch(folder.delivery(experiment))
    feeder.start()
    assert feeder.close() == []
    assert len(client.search_runs([experiment])) == 1


def test_a_run_that_goes_on_while_its_loss_is_delivered_is_followed_on(
    make_folder: Callable[[str], Any], client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner tries a lost run again at once; what it writes and says then must not be forgotten with the loss."""
    folder = make_folder("f1")
    folder.epoch(1)
    folder.state("lost", "killed", ended=5.0)
    feeder = Feeder(client, interval_seconds=0.05)
    delivery = folder.delivery(experiment)
    whole = []

    def deliver_and_go_on(*arguments: Any) -> bool:
        whole.append(deliver(*arguments))
        if len(whole) == 1:
            folder.state("running")
            feeder.watch(delivery)
        return whole[-1]

    monkeypatch.setattr(feeders, "deliver", deliver_and_go_on)
    feeder.watch(delivery)
    feeder.start()
    wait_until(lambda: len(whole) > 1)
    assert whole[:2] == [True, False]
    folder.epoch(2)
    folder.finish()
    assert feeder.close() == []
    [run] = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2]


def test_what_could_not_be_delivered_is_said_at_the_end_and_delivered_later(
    make_folder: Callable[[str], Any], client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder("f1")
    folder.finish()
    delivery = folder.delivery(experiment)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        feeder = Feeder(interval_seconds=0.05)
        feeder.start()
        feeder.watch(delivery)
        failed, comfort = feeder.close()
    assert failed.startswith("MLflow did not take lr 1e-3, seed 42: it does not answer at http://127.0.0.1:9 (")
    assert comfort.endswith("MLFLOW_TRACKING_URI=http://127.0.0.1:9 python -m segcore.tracking --deliver")
    later = Feeder()
    later.watch(folder.delivery(experiment))
    later.start()
    assert later.close() == []
    assert client.search_runs([experiment])[0].info.status == "FINISHED"


def test_a_damaged_folder_does_not_hold_up_the_others(
    make_folder: Callable[[str], Any], client: MlflowClient, experiment: str
) -> None:
    damaged, whole = make_folder("f1"), make_folder("f2")
    (damaged.path / "run.json").write_text("{")
    whole.finish()
    feeder = Feeder(client)
    feeder.watch(damaged.delivery(experiment, seed=42))
    feeder.watch(whole.delivery(experiment, seed=43))
    feeder.start()
    messages = feeder.close()
    assert messages[0].startswith("MLflow did not take lr 1e-3, seed 42: ")
    assert [run.data.tags["seed"] for run in client.search_runs([experiment])] == ["43"]


def test_a_hanging_server_is_not_waited_for_for_ever(
    make_folder: Callable[[str], Any], client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "search_experiments", lambda **_: time.sleep(1))
    feeder = tracking.Feeder(client)
    feeder.watch(make_folder("f1").delivery(experiment))
    feeder.start()
    assert "it was too slow: not done after 0 s" in feeder.close(timeout_seconds=0.1)[0]
    feeder.join()


def wait_until(condition: Callable[[], Any], timeout_seconds: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
