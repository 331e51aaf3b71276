"""Numbers that a benchmark cannot work with, pictures that are not there, a machine that does other work."""

import argparse
import io
import os

import pytest
from rich.console import Console

from benchmarks.command_line import add_pictures, at_least, measuring
from benchmarks.pictures import find_pictures
from segcore.errors import UserError


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def test_numbers_have_a_least_value(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=at_least(2))
    assert parser.parse_args(["--batch", "2"]).batch == 2
    for text in ("1", "-3", "two"):
        with pytest.raises(SystemExit):
            parser.parse_args(["--batch", text])
    assert "--batch: 1: must be at least 2" in capsys.readouterr().err


def test_pictures_are_those_that_are_named_or_there(tmp_path):
    for place, default in ((tmp_path, tmp_path), (tmp_path / "absent", None)):
        parser = argparse.ArgumentParser()
        add_pictures(parser, place=place)
        assert parser.parse_args([]).data == default
        assert parser.parse_args(["--data", "mine"]).data.name == "mine"


def test_named_pictures_that_are_not_there_are_an_error(tmp_path):
    with pytest.raises(UserError, match="absent"):
        find_pictures(tmp_path / "absent", tmp_path)


def test_what_is_wrong_ends_a_measurement_without_a_traceback(console):
    with pytest.raises(SystemExit, match="too small"), measuring(console):
        raise UserError("too small")


@pytest.mark.parametrize(("load", "warned"), [(0.1, False), (1.5, True)])
def test_other_work_is_warned_of(console, monkeypatch, load, warned):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    with measuring(console):
        pass
    assert ("busy (load 1.5)" in console.file.getvalue()) == warned
