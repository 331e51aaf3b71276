"""What `benchmarks.overhead` makes of its turns, and in which environment it starts whom."""

from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from benchmarks import overhead
from benchmarks.overhead import Arena, Pair, Turn, fit_growth, show, show_growth


def make_turn(longer: float | None = 26.0) -> Turn:
    """The first run costs 5 s and 6 s at two lengths; two more runs add 8 s, of which 6 are training and testing."""
    short = Pair(epochs=2, call=18.0, script=13.0, training=2.0, work=3.0, same=True)
    long = Pair(epochs=20, call=39.0, script=33.0, training=22.0, work=23.0, same=True)
    return Turn((short, long), complete=17.0, longer=longer)


def write(table: Table) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def row(text: str, name: str) -> list[str]:
    """The words of the row after its name."""
    return next(line for line in text.splitlines() if name in line).split(name)[1].split()


def test_costs_are_differences_to_the_script():
    text = write(show([make_turn()], more=2))

    assert row(text, "first run") == ["5.00", "5.00", "to", "5.00", "0.83", "%"]
    assert row(text, "each further run")[0] == "1.00"  # (26 - 18) / 2 - 3
    assert row(text, "(against the complete script)")[0] == "1.00"


def test_without_a_longer_call_nothing_is_told_of_further_runs():
    text = write(show([make_turn(longer=None)], more=0))

    assert "further run" not in text
    assert "a call for 1 runs" not in text
    assert row(text, "first run")[0] == "5.00"


def test_cost_grows_along_a_line_through_the_lengths():
    intercept, slope = fit_growth(make_turn())

    assert (intercept, slope) == pytest.approx((4.9, 0.05))
    text = write(show_growth([make_turn()]))
    assert row(text, "a second of training adds")[0] == "0.050"
    assert row(text, "ten minutes of it, by this line")[:3] == ["34.900", "(5.82", "%)"]


def test_a_turn_has_a_pair_of_each_length_and_one_longer_call_at_most(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Arena, "pair", lambda self, epochs: asked.append(f"pair {epochs}"))
    monkeypatch.setattr(Arena, "script", lambda self, *options: asked.append(f"script {options[0]}") or (1.0, {}))
    monkeypatch.setattr(Arena, "call", lambda self, number, epochs: asked.append(f"call {number} {epochs}") or 1.0)
    arena = Arena(tmp_path, [])

    arena.play([2, 20], more=0)
    arena.play([2, 20], more=2)

    assert asked[:3] == ["pair 2", "script --complete", "pair 20"]
    assert asked[3:] == ["pair 2", "script --complete", "call 3 2", "pair 20"]


def test_the_runner_starts_as_its_user_starts_it_and_the_script_as_a_worker(tmp_path, monkeypatch):
    for name in ("GLIBC_TUNABLES", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    started = {}

    def note(command, place: Path, environment):
        started["runner" if "loss" in command else "script"] = environment
        return 1.0

    monkeypatch.setattr(overhead, "seconds_of", note)
    monkeypatch.setattr(Arena, "last_run", lambda self: self.place)
    (tmp_path / "script.json").write_text("{}")
    arena = Arena(tmp_path, [])
    arena.call(1, epochs=2)
    arena.script()

    assert not {"GLIBC_TUNABLES", "GOMP_SPINCOUNT", "MLFLOW_TRACKING_URI"} & set(started["runner"])
    assert "GLIBC_TUNABLES" in started["script"]
    assert not started["script"]["MLFLOW_TRACKING_URI"]


def test_every_call_has_new_seeds(tmp_path):
    arena = Arena(tmp_path, ["data.image_size=32"])

    assert "--seeds=1,2" in arena.command(2)
    assert arena.command(1, "trainer.epochs=2")[-3:] == ["--seeds=3", "data.image_size=32", "trainer.epochs=2"]
