import time

import pytest

from segcore.errors import UserError
from segcore.yaml_files import parse_yaml, read_mapping


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100_000.0),
        ("-2.5e-4", -0.00025),
        (".5", 0.5),
        ("42", 42),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("lr 1e-3", "lr 1e-3"),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("-.inf", float("-inf")),
        ("2026-01-01", "2026-01-01"),
        ("=", "="),
    ],
)
def test_values_arrive_as_yaml_1_2_has_them(text, value):
    parsed = parse_yaml(text, "test")
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "line 1.*not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", "line 3.*'a' is given twice"),
        ("? [1, 2]\n: 3\n", "key must be plain text"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: !!timestamp 2001-99-99", "not valid YAML"),
        ("a: !!int one", "not valid YAML"),
        ("a: !!float {}", "not valid YAML"),
        ('a: "\\e[31m"', r"line 1.*U\+001B.*cannot be seen"),
        ('a: 1\n"\\u202e": 1', r"line 2.*U\+202E"),
        ('a: "\\ud800"', r"U\+D800"),
        ("a: &a [*a]", "alias within itself"),
        ("a: 1" + "0" * 5000, "so many digits"),
        ("a: " + "[" * 100 + "]" * 100, "nested too deeply"),
        ("a: " + "[" * 10_000, "nested too deeply|expected"),
        ("a: b" + " " * 1_000_000, "more than 200,000 characters"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(tmp_path, text, message):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_mapping(path)
    assert str(path) in str(caught.value)


def test_merge_keys_work():
    assert parse_yaml("base: &b {x: 1}\nchild: {<<: *b, y: 2}\n", "test")["child"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"# only a comment\n", "empty"), (b"- a list\n", "keys and values"), (b"\xff\xfe\x00", "text")],
)
def test_files_that_hold_no_mapping_are_refused(tmp_path, content, message):
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_mapping(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.yaml: there is no such file"):
        read_mapping(tmp_path / "absent.yaml")


def test_aliases_that_would_amount_to_billions_of_values_are_refused_at_once():
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
    began = time.monotonic()
    with pytest.raises(UserError, match=r"line \d.*more than 100,000 values"):
        parse_yaml("\n".join(levels), "test")
    merged = ["m0: &m0 {a: 1}", *(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}" for n in range(1, 10))]
    with pytest.raises(UserError, match="more than 100,000 values"):
        parse_yaml("\n".join(merged), "test")
    assert time.monotonic() - began < 5
