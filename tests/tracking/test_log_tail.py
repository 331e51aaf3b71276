import re
from pathlib import Path

import pytest

from segcore.tracking.folder import read_run
from segcore.tracking.log_tail import MAX_CHARACTERS, NUM_LINES, code_block, read_tail
from segcore.tracking.records import MAX_TAG, tags_of
from tests.run_folders import RunFolder


def tail_of(folder: Path, text: str) -> str:
    log = folder / "log.txt"
    log.write_bytes(text.encode("utf-8", "surrogateescape"))
    return read_tail(log)


def test_the_last_lines_without_empty_ones(tmp_path: Path) -> None:
    text = "".join(f"line {number}\n\n" for number in range(100_000))
    assert tail_of(tmp_path, text).splitlines() == [f"line {number}" for number in range(100_000 - NUM_LINES, 100_000)]
    assert read_tail(tmp_path / "none.txt") == ""


def test_long_lines_are_cut_at_their_begin(tmp_path: Path) -> None:
    tail = tail_of(tmp_path, "x" * 1_000_000 + "the end")
    assert len(tail) == MAX_CHARACTERS and tail.startswith("…x") and tail.endswith("xthe end")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10 %\r50 %\r100 %\r\ndone", "100 %\ndone"),
        ("\x1b[31mred\x1b[0m \x1b]0;a title\x07text\x1b", "red text"),
        ("a\tb\x00\x07\x9b\u202e\u2028c", "a    bc"),
        ("caf\udcff\udcfe", "caf\ufffd\ufffd"),
    ],
)
def test_what_a_terminal_would_do_is_left_out(text: str, expected: str, tmp_path: Path) -> None:
    assert tail_of(tmp_path, text) == expected


def test_credentials_of_the_tracking_server_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@tracking.example:5000")
    assert tail_of(tmp_path, "GET http://me:secret@tracking.example:5000/x") == "GET http://tracking.example:5000/x"


@pytest.mark.parametrize(
    "text", ["```\n# a heading\n\n\n</code></pre>", "\x0b\x0c\x85outside", "\r# outside\r\n- item"]
)
def test_every_line_of_the_block_is_indented(text: str, tmp_path: Path) -> None:
    block = code_block(tail_of(tmp_path, text))
    assert all(re.fullmatch(" {4}.*[^ ].*", line) for line in block.splitlines())


def test_the_block_is_whole_beside_a_reason_that_is_too_long(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "f1")
    (folder.path / "log.txt").write_text("x\n" * 10_000 + "`" * 10_000 + "\nthe end\n")
    folder.state("lost", reason="r" * 100_000)
    files = read_run(folder.path)
    assert files is not None
    description = tags_of(files, {"name": "a, seed 1"}, None)["mlflow.note.content"]
    assert len(description) <= MAX_TAG
    sentence, block = description.split("\n\nThe end of its log:\n\n")
    assert sentence.startswith("a, seed 1 was lost after 0 epochs: rrr") and sentence.endswith("r…")
    assert block.endswith("`\n    the end\n")
