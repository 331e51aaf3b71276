"""The thread that feeds MLflow from the folders of the runs."""

import contextlib
import threading
import time
from collections.abc import Callable

from mlflow import MlflowClient

from segcore.credentials import with_server
from segcore.tracking.address import shown_uri
from segcore.tracking.delivery import Delivery, deliver
from segcore.tracking.folder import may_go_on, version
from segcore.tracking.lease import DeliveredElsewhere
from segcore.tracking.store import AWAY, first_line, is_unanswered, tracking_client

COMMAND = "python -m segcore.tracking --deliver"
# How long the end of a call waits for MLflow: at most; after Ctrl-C; where nobody answered the last time.
CLOSE_SECONDS = 60.0
AFTER_INTERRUPT_SECONDS = 10.0
AWAY_SECONDS = 5.0
# Between rounds that deliver nothing the pause doubles up to this.
LONGEST_PAUSE_SECONDS = 60.0
# So many runs are named in a message.
MAX_NAMED = 8


class Feeder(threading.Thread):
    """Delivers all watched runs every few seconds, in the order in which they were given.

    client: by default one of `tracking_uri()`, made with the first delivery.  tell: called, from the thread, with a
    sentence for the user when a server that has answered no longer does, and when one that was away is back.

    A tracking server that is slow or away costs nothing but delay: whatever MLflow raises is kept, and tried again in
    the next round. A server that does not answer ends the round, so that it is waited for once and not for each run;
    from then on it is asked a small question first, after pauses that grow to a minute. A run that another process is
    delivering is passed over, and looked at again.

        feeder = Feeder()
        feeder.start()
        feeder.watch(delivery)      # at any time; a run that is whole in MLflow is dropped by itself
        for message in feeder.close():
            print(message)
    """

    def __init__(
        self,
        client: MlflowClient | None = None,
        *,
        interval_seconds: float = 2.0,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        super().__init__(name="MLflow feeder", daemon=True)
        self._client = client
        self._tell = tell
        # Whether the user knows that the server is away.
        self.is_absence_told = False
        self._interval_seconds = interval_seconds
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._lock = threading.Lock()
        self._watched: dict[Delivery, object] = {}  # and the version of its folder that was delivered last
        self._errors: dict[Delivery, Exception] = {}
        self._absence: Exception | None = None  # what the server that does not answer was seen by
        self._first_asked: float | None = None
        self._has_answered = False

    def watch(self, delivery: Delivery) -> None:
        """Adds a run; its folder need not exist yet."""
        with self._lock:
            self._watched.setdefault(delivery, None)

    def run(self) -> None:
        """The thread's work: a round every few seconds, and a last one after `close` was called."""
        pause = self._interval_seconds
        while not self._closing.wait(pause):
            is_vain = not self._round() and self._has_trouble()
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS) if is_vain else self._interval_seconds
        self._round()
        while self._waits_for_others() and time.monotonic() < self._deadline:
            time.sleep(self._interval_seconds)
            self._round()

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> list[str]:
        """Delivers once more what is new, ends the thread, and returns what the user should know.

        timeout_seconds: after that MLflow is no longer waited for, and much sooner where it was away before.
        """
        begin = time.monotonic()
        self._deadline = begin + timeout_seconds
        self._closing.set()
        while self.is_alive():
            # Looked at again and again: it may be back, and busy with all that has waited.
            patience = min(AWAY_SECONDS, timeout_seconds) if self._seems_away() else timeout_seconds
            left = begin + patience - time.monotonic()
            if left <= 0:
                break
            self.join(min(left, 0.2))
        reasons = self._undelivered(f"it was too slow: not done after {time.monotonic() - begin:.0f} s")
        messages = [f"MLflow did not take {_listed(names)}: {reason}" for reason, names in reasons.items()]
        if messages:
            messages.append(
                f"Nothing is lost: it waits in the runs' folders. At any time this delivers it:\n{with_server(COMMAND)}"
            )
        return messages

    def _undelivered(self, otherwise: str) -> dict[str, list[str]]:
        """By reason, the runs with something that MLflow does not have; `otherwise` where no reason is known."""
        with self._lock:
            errors, watched = dict(self._errors), list(self._watched.items())
        reasons: dict[str, list[str]] = {}
        for delivery, delivered_version in watched:
            if delivery in errors or _has_news(delivery, delivered_version):
                reason = self._reason(errors.get(delivery)) or otherwise
                reasons.setdefault(reason, []).append(delivery.identity()["name"])
        return reasons

    def _reason(self, error: Exception | None) -> str:
        """Why a run was not delivered; empty where nothing is known.  A server that is away is one reason for all."""
        if self._absence and (error is None or is_unanswered(error)):
            return f"it does not answer at {shown_uri()} ({first_line(self._absence)})"
        return first_line(error) if error else ""

    def _seems_away(self) -> bool:
        """Whether nobody answered the last time, or to the first request, which may not be given up yet."""
        asked = self._first_asked
        is_silent = not self._has_answered and asked is not None and time.monotonic() - asked > AWAY_SECONDS
        return self._absence is not None or is_silent

    def _has_trouble(self) -> bool:
        return self._absence is not None or not all(map(_is_elsewhere, self._errors.values()))

    def _waits_for_others(self) -> bool:
        return any(map(_is_elsewhere, self._errors.values()))

    def _round(self) -> bool:
        """Delivers what is new; returns whether anything was."""
        was_away = self._absence is not None
        if was_away and not self._is_back():
            self._tell_of(is_away=True)
            return False
        self._absence = None
        if was_away:
            self._tell_of(is_away=False)
        num_delivered = 0
        for delivery, delivered_version in self._snapshot():
            if time.monotonic() > self._deadline:
                break
            try:
                num_delivered += self._deliver(delivery, delivered_version)
            # MLflow, its database and its artifact store raise errors of many kinds, and none may end the thread.
            except Exception as error:
                with self._lock:
                    self._errors[delivery] = error
                if is_unanswered(error) and not was_away:
                    self._absence = error
                    break
                # It has just answered, so this may be the run's: a file too large for the timeout, say. Once a round.
                was_away = was_away and not is_unanswered(error)
        return num_delivered > 0

    def _tell_of(self, *, is_away: bool) -> None:
        """Tell once that the server is away, and that it is back; while the call ends, its last words do."""
        if is_away == self.is_absence_told or self._closing.is_set():
            return
        self.is_absence_told = is_away
        # Where nobody reads any more, the console ends its thread, which this one must not.
        with contextlib.suppress(Exception, SystemExit):
            if is_away:
                self._tell(f"{AWAY} {shown_uri()} for now. The runs go on, and wait for it.")
            else:
                self._tell("MLflow answers again, and gets what has waited.")

    def _snapshot(self) -> list[tuple[Delivery, object]]:
        with self._lock:
            return list(self._watched.items())

    def _is_back(self) -> bool:
        """Whether the server answers again, to the smallest question that there is."""
        try:
            self._client = self._client or tracking_client()
            self._client.search_experiments(max_results=1)
        except Exception as error:
            self._absence = error
            return not is_unanswered(error)
        self._has_answered = True
        return True

    def _deliver(self, delivery: Delivery, delivered_version: object) -> bool:
        """Delivers a run where there is news of it; returns whether there was."""
        if delivery not in self._errors and not _has_news(delivery, delivered_version):
            return False
        # Taken before reading: what is written meanwhile belongs to the next round.
        current = version(delivery.folder)
        self._first_asked = self._first_asked or time.monotonic()
        # Made here, because even making it asks the database.
        self._client = self._client or tracking_client()
        if not self._has_answered:
            # A delivery is many questions, and may last longer than a server is waited for that answers none.
            self._client.search_experiments(max_results=1)
            self._has_answered = True
        is_whole = deliver(delivery, self._client)
        with self._lock:
            self._errors.pop(delivery, None)
            # One that failed, was lost or interrupted may go on at any moment, and is followed until the call ends.
            if is_whole and not may_go_on(delivery.folder):
                del self._watched[delivery]
            else:
                self._watched[delivery] = current
        return True


def _is_elsewhere(error: Exception) -> bool:
    return isinstance(error, DeliveredElsewhere)


def _has_news(delivery: Delivery, delivered_version: object) -> bool:
    """Whether the folder holds something that was not delivered; one without a run yet has none."""
    return version(delivery.folder) != delivered_version and (delivery.folder / "run.json").exists()


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return "; ".join(names[:MAX_NAMED]) + more
