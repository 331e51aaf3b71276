"""The stages of a run."""

from enum import StrEnum


class Stage(StrEnum):
    """What a process does of a run: all of it; training and testing; or the end, which needs neither device nor data.

    The end takes seconds on one core, beside which the next run can train.
    """

    whole = "whole"
    training = "training"
    end = "end"
