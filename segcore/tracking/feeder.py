"""The thread that feeds MLflow from the folders of the runs."""

import threading

from mlflow import MlflowClient

from segcore.tracking.delivery import Delivery, deliver
from segcore.tracking.folder import version
from segcore.tracking.store import first_line, tracking_client


class Feeder(threading.Thread):
    """Delivers all watched runs every few seconds, in the order in which they were given.

    client: by default one of `tracking_uri()`, made with the first delivery.

    A tracking server that is slow or away costs nothing but delay: whatever MLflow raises is kept, and tried again in
    the next round.

        feeder = Feeder()
        feeder.start()
        feeder.watch(delivery)      # at any time; a run that is whole in MLflow is dropped by itself
        for message in feeder.close():
            print(message)
    """

    def __init__(self, client: MlflowClient | None = None, *, interval_seconds: float = 2.0) -> None:
        super().__init__(name="MLflow feeder", daemon=True)
        self._client = client
        self._interval_seconds = interval_seconds
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._watched: dict[Delivery, object] = {}  # and the version of its folder that was delivered last
        self._errors: dict[Delivery, Exception] = {}

    def watch(self, delivery: Delivery) -> None:
        """Adds a run; its folder need not exist yet."""
        with self._lock:
            self._watched.setdefault(delivery, None)

    def run(self) -> None:
        """The thread's work: a round every few seconds, and a last one after `close` was called."""
        while not self._closing.wait(self._interval_seconds):
            self._round()
        self._round()

    def close(self, timeout_seconds: float = 60.0) -> list[str]:
        """Delivers once more what is new, ends the thread, and returns what the user should know.

        timeout_seconds: after that a server that does not answer is no longer waited for.
        """
        self._closing.set()
        self.join(timeout_seconds)
        with self._lock:
            names: dict[str, list[str]] = {}
            for delivery, error in self._errors.items():
                names.setdefault(first_line(error), []).append(delivery.identity()["name"])
        messages = [f"MLflow did not take {'; '.join(runs)}: {error}" for error, runs in names.items()]
        if self.is_alive():
            messages.append(f"MLflow was too slow: after {timeout_seconds:g} s it had not taken everything.")
        if messages:
            messages.append("Nothing is lost: it waits in the runs' folders, and the same command delivers it.")
        return messages

    def _round(self) -> None:
        with self._lock:
            watched = list(self._watched.items())
        for delivery, delivered_version in watched:
            try:
                self._deliver(delivery, delivered_version)
            # MLflow, its database and its artifact store raise errors of many kinds, and none may end the thread.
            except Exception as error:
                with self._lock:
                    self._errors[delivery] = error

    def _deliver(self, delivery: Delivery, delivered_version: object) -> None:
        # Taken before reading: what is written meanwhile belongs to the next round.
        current = version(delivery.folder)
        if current == delivered_version:
            return
        # Made here, because even making it asks the database.
        self._client = self._client or tracking_client()
        is_whole = deliver(delivery, self._client)
        with self._lock:
            self._errors.pop(delivery, None)
            if is_whole:
                del self._watched[delivery]
            else:
                self._watched[delivery] = current
