"""All that the suite says to MLflow: experiments, runs, models, and how they are found again.

Training never waits for MLflow. A worker writes `runs/FINGERPRINT/`; the runner's `Feeder` brings MLflow up to date
with it. MLflow itself is the memory of what was delivered, so a delivery can be repeated, or continued by another
process, at any time.
"""

import logging
import os

# Read by MLflow when it is imported, so they come before the imports. A setting that the user made wins.
_QUIET = {
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # its lines would tear the progress display; errors reach us as exceptions
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # what a user trains is nobody else's business
    # The Feeder tries again by itself. MLflow's seven times 120 s would block it, and what is sent again below it might
    # be done twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)

from segcore.tracking.address import tracking_uri  # noqa: E402
from segcore.tracking.backlog import holds_all_of  # noqa: E402
from segcore.tracking.delivery import Delivery, deliver  # noqa: E402
from segcore.tracking.feeder import AFTER_INTERRUPT_SECONDS, CLOSE_SECONDS, Feeder  # noqa: E402
from segcore.tracking.lease import LEASE, DeliveredElsewhere  # noqa: E402
from segcore.tracking.noted import note_of  # noqa: E402
from segcore.tracking.recorded import RecordedRun, read_recorded  # noqa: E402
from segcore.tracking.runs import open_run  # noqa: E402
from segcore.tracking.store import AWAY, ExperimentInfo, first_line, prepare_store, tracking_client  # noqa: E402
from segcore.tracking.summary import deliver_summary, is_summary_of  # noqa: E402
from segcore.tracking.system import system_sampler  # noqa: E402

# Again, because somebody may have imported MLflow before us.
for _name in ("mlflow", "alembic", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())

__all__ = [
    "AFTER_INTERRUPT_SECONDS",
    "AWAY",
    "CLOSE_SECONDS",
    "LEASE",
    "DeliveredElsewhere",
    "Delivery",
    "ExperimentInfo",
    "Feeder",
    "RecordedRun",
    "deliver",
    "deliver_summary",
    "first_line",
    "holds_all_of",
    "is_summary_of",
    "note_of",
    "open_run",
    "prepare_store",
    "read_recorded",
    "system_sampler",
    "tracking_client",
    "tracking_uri",
]
