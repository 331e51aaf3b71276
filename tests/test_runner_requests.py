"""Requests that are wrong: a clear error, exit status 2, nothing half-made."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import runner
from segcore.execution.variables import settings_of_libraries

LR_SWEEP = str(Path("experiments/lr_sweep.yaml").resolve())


@pytest.fixture
def request_fails(tmp_path_factory, monkeypatch):
    """A function that makes a request in an empty folder, checks that it fails cleanly, and returns the error."""
    folder = tmp_path_factory.mktemp("empty")
    monkeypatch.chdir(folder)

    def make(*arguments):
        result = CliRunner().invoke(runner.app, arguments)
        assert result.exit_code == 2
        assert "Traceback" not in result.stderr
        assert list(folder.iterdir()) == []
        return result.stderr

    return make


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no ablation file is given"),
        (["absent.yaml"], "absent.yaml: there is no such file"),
        (["los"], "los: there is no such file; did you mean loss?"),
        (["loss", "--preset", "demo", "--only", "bce"], "did you mean BCE?"),
        (["loss", "--calibrate"], "--calibrate goes with --dry-run"),
        (["--dry-run"], "no ablation file is given"),
        (["x" * 300], "there is no such file"),
        ([LR_SWEEP, f"trainer.epochs={'9' * 300}"], "trainer.epochs"),
        ([LR_SWEEP], "data.root"),
        ([LR_SWEEP, "trainer.epochs=0"], "trainer.epochs = 0"),
        ([LR_SWEEP, "trainer.epoch=3"], "did you mean trainer.epochs"),
        ([LR_SWEEP, "optimizer.lr=3"], "belongs to the factor"),
        ([LR_SWEEP, "--preset", "demmo"], "did you mean demo"),
        ([LR_SWEEP, "--seeds", "1,1"], "different whole numbers"),
        ([LR_SWEEP, "--seeds", f"42,{10**18}"], "to 999999999999999999"),
        ([LR_SWEEP, "--seeds", "a"], "--seeds a"),
        ([LR_SWEEP, "--jobs", "0"], "--jobs"),
        ([LR_SWEEP, "--launcher", "slurm"], "--launcher"),
        ([LR_SWEEP, "execution.device=cuda:77"], "CUDA"),
    ],
)
def test_a_wrong_request_makes_nothing(request_fails, arguments, message):
    assert message in re.sub(r"\x1b\[[0-9;]*m", "", request_fails(*arguments))


def test_missing_data_is_explained_with_ways_out(request_fails):
    error = request_fails(LR_SWEEP)
    for part in ("data/oxford-iiit-pet", "data.download=true", "--preset demo"):
        assert part in error


def test_a_runs_folder_that_cannot_be_made_is_told(tmp_path, monkeypatch, write_ablation):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("a file is in the way")
    path = write_ablation(settings={"data": {"format": "synthetic", "synthetic_images": 12, "image_size": 32}})
    result = CliRunner().invoke(runner.app, [str(path)])
    assert result.exit_code == 2
    assert f"{tmp_path}/runs: cannot be written" in result.stderr
    assert not (tmp_path / "mlflow.db").exists()


def test_data_that_cannot_be_used_is_told_before_anything_trains(tmp_path, monkeypatch, write_ablation):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets" / "annotations").mkdir(parents=True)
    (tmp_path / "pets" / "images").mkdir()
    for part in ("trainval", "test"):
        names = "".join(f"{part}_{number} 1 1 1\n" for number in range(20))
        (tmp_path / "pets" / "annotations" / f"{part}.txt").write_text(names)
    result = CliRunner().invoke(runner.app, [str(write_ablation()), "data.root=pets"])
    assert result.exit_code == 2
    assert "data.max_skipped_fraction" in result.stderr
    assert "missing" in result.stderr
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "mlflow.db").exists()


def test_two_files_of_one_name_are_refused(request_fails, write_ablation):
    error = request_fails(str(write_ablation("first.yaml")), str(write_ablation("second.yaml")))
    assert "have the same name, small" in error


def test_a_wrong_preset_is_told_by_the_list_too(request_fails):
    assert "did you mean demo" in request_fails("--list", "--preset", "demmo")


def test_problems_of_several_files_come_together(request_fails, write_ablation):
    first = write_ablation("first.yaml", seeds=[1, 1])
    second = write_ablation("second.yaml", title=None)
    error = request_fails(str(first), str(second))
    assert "first.yaml: seeds" in error
    assert "second.yaml: title is missing" in error


@pytest.mark.parametrize("code", ["None", "0", "3", "True", "'no more'", "('a', 1)"])
def test_a_call_ends_as_python_does(code):
    def end(command):
        result = subprocess.run(
            [sys.executable, "-c", f"import runner; print('out'); {command}"],
            cwd=Path(runner.__file__).parent,
            capture_output=True,
            text=True,
        )
        return result.returncode, result.stdout, result.stderr

    assert end(f"runner.leave(SystemExit({code}))") == end(f"raise SystemExit({code})")


@pytest.mark.parametrize("others", [["loss"], ["--rerun"], ["--seeds", "1"], ["--list"], ["trainer.epochs=3"]])
def test_pruning_is_about_all_runs_and_goes_alone(others):
    done = CliRunner().invoke(runner.app, ["--prune", *others])
    assert done.exit_code == 2
    assert "--prune takes no file and no option but --dry-run" in done.output


def test_a_run_is_reproduced_here_not_on_a_cluster():
    done = CliRunner().invoke(runner.app, ["--reproduce", "x", "--launcher", "ray"])
    assert done.exit_code == 2
    assert "--reproduce RUN goes with KEY=VALUE, --retries and --dry-run alone" in done.output


def test_an_interrupted_rerun_says_how_to_go_on_with_what_was_begun(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["runner.py", "my file.yaml", "--rerun"])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert runner.command_to_go_on() == "python runner.py 'my file.yaml'"
    assert runner.after_rerun() == " (with --rerun again, all runs begin anew)"
    monkeypatch.setattr(sys, "argv", ["runner.py", "loss"])
    assert runner.command_to_go_on() == "python runner.py loss"
    assert runner.after_rerun() == ""


@pytest.mark.parametrize(
    ("uri", "shown"),
    [("http://127.0.0.1:5000", "http://127.0.0.1:5000"), ("http://me:hunter2@host", "...")],
)
def test_the_command_to_go_on_reaches_the_same_server(monkeypatch, uri, shown):
    monkeypatch.setattr(sys, "argv", ["runner.py", "loss"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert runner.command_to_go_on() == f"MLFLOW_TRACKING_URI={shown} python runner.py loss"


def test_a_python_without_the_packages_is_told_how_to_get_them():
    code = "import sys; sys.modules['typer'] = None; import runner"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(runner.__file__).parent
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "has not the suite's packages; say: make install; source .venv/bin/activate" in done.stderr


# The runner, which tells when the signal would end it; what a signal does to Python's own start is Python's affair.
TELLING = """
import os, runpy, signal, sys
set_handler = signal.signal
def tell(number, handler):
    before = set_handler(number, handler)
    if handler == signal.SIG_DFL:
        os.write(1, b".")
    return before
signal.signal = tell
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("seconds", [0, 0.1, 0.3, 0.6, 1.0])
def test_an_interruption_during_the_imports_is_no_traceback(tmp_path, seconds):
    path = Path("runner.py").resolve()
    process = subprocess.Popen(
        [sys.executable, "-c", TELLING, str(path), LR_SWEEP, "--preset", "demo", "--dry-run"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | settings_of_libraries() | {"PYTHONPATH": str(path.parent)},  # with these it begins only once
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout.read(1) == b"."
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    # Before the words for it are imported, the signal itself ends the process.
    assert (process.returncode, errors) in ((-signal.SIGINT, b""), (130, b"interrupted; nothing was begun\n"))
    assert output == b""
