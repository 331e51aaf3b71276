"""Requests that are wrong: a clear error, exit status 2, nothing half-made."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import runner

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
        ([LR_SWEEP], "data.root"),
        ([LR_SWEEP, "trainer.epochs=0"], "trainer.epochs = 0"),
        ([LR_SWEEP, "trainer.epoch=3"], "did you mean trainer.epochs"),
        ([LR_SWEEP, "optimizer.lr=3"], "belongs to the factor"),
        ([LR_SWEEP, "--preset", "demmo"], "did you mean demo"),
        ([LR_SWEEP, "--seeds", "1,1"], "different whole numbers"),
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


def test_problems_of_several_files_come_together(request_fails, write_ablation):
    first = write_ablation("first.yaml", seeds=[1, 1])
    second = write_ablation("second.yaml", title=None)
    error = request_fails(str(first), str(second))
    assert "first.yaml: seeds" in error
    assert "second.yaml: title is missing" in error
