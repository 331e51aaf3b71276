from pathlib import Path

import pytest
import torch
import typer

from segcore import tracking
from segcore.command_line import check_output, locate_checkpoint, shown, user_errors, writing
from segcore.errors import UserError


@pytest.mark.parametrize(
    ("error", "status"),
    [(UserError("wrong"), 2), (torch.OutOfMemoryError("wrong"), 2), (KeyboardInterrupt(), 130)],
)
def test_errors_become_a_message_and_a_status(
    error: BaseException, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as exit_info, user_errors():
        raise error
    assert exit_info.value.exit_code == status
    captured = capsys.readouterr()
    assert captured.err
    assert not captured.out


def test_other_errors_are_ours_and_stay() -> None:
    with pytest.raises(ZeroDivisionError), user_errors():
        raise ZeroDivisionError


def test_exactly_one_source_of_a_checkpoint(tmp_path: Path) -> None:
    assert locate_checkpoint(None, tmp_path) == tmp_path
    for both_or_none in ((None, None), ("run", tmp_path)):
        with pytest.raises(UserError, match="either --run RUN"):
            locate_checkpoint(*both_or_none)


def test_a_run_is_opened_in_mlflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tracking, "open_run", lambda run: tmp_path / f"{run}.safetensors")
    assert locate_checkpoint("abcd", None) == tmp_path / "abcd.safetensors"


def test_output_is_a_folder_or_can_become_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_output(tmp_path)
    check_output(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="is a file"):
            check_output(output)


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No space left"), writing(tmp_path / "new"):
        raise OSError(28, "No space left on device")
    assert (tmp_path / "new").is_dir()


def test_shown_paths_can_be_printed(tmp_path: Path) -> None:
    assert b"cat" in shown(tmp_path / "cat\udcff.jpg").encode("utf-8")
