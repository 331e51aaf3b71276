"""Settings as earlier runs and checkpoints keep them, also of versions that had fewer."""

from collections.abc import Mapping
from typing import Any

from segcore.config import RunConfig, flatten, nest

# Settings that came later, and what they were before.
BEFORE = {
    "trainer.compile": False,
    "execution.gpus_per_run": 1.0,
    "execution.checkpoint_seconds": 300.0,
    "execution.timeout_minutes": 30.0,
}


def parse_stored(settings: Mapping[str, Any]) -> RunConfig:
    """The settings of an earlier run.  Raises ValidationError where they do not fit."""
    return RunConfig.model_validate(nest(BEFORE | flatten(settings)))
