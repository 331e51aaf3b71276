"""What is said before runs start."""

import pytest

from segcore import build
from segcore.execution.notices import describe_crowding, notices


@pytest.mark.parametrize(
    ("jobs", "threads", "advice"),
    [
        (1, 4, None),
        (2, 2, None),
        (2, 4, "execution.threads=2"),
        (4, 1, None),
        (
            8,
            1,
            "with 1 thread a run on 4 cores: more threads than cores are in each other's way; say --jobs 4, with a "
            "thread each",
        ),
        (1, 5, "make a run slower"),
    ],
)
def test_runs_with_more_threads_than_cores_are_warned_of(make_plan, monkeypatch, jobs, threads, advice):
    runs = make_plan().runs
    monkeypatch.setattr(build, "count_cores", lambda: 4)
    monkeypatch.setattr(build, "resolve_threads", lambda config: threads)
    said = describe_crowding([*runs, *runs], jobs)
    assert said is None if advice is None else said.endswith(advice)
    assert describe_crowding([], jobs) is None


def test_runs_that_compile_are_announced(make_plan):
    assert notices(make_plan().runs, 1) == []
    (said,) = notices(make_plan(settings={"trainer.compile": True}).runs, 1)
    assert said.startswith("trainer.compile=true: each run compiles")
