"""The trainings that are compared, each a process of its own: `python -m benchmarks.contenders.NAME WORK OUTCOME`."""
