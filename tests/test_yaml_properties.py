"""What holds of the YAML reader for every text."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from segcore.errors import UserError
from segcore.yaml_files import UNSEEN, Loader, parse_yaml, read_mapping

# Letters of YAML's own, so that examples are often nearly right.
SYNTAX = st.text(st.sampled_from(list("ab01.-+eE_:,?!&*#|>'\"%@`[]{}<=~ \t\n\\x0n/")), max_size=60)
VISIBLE = st.text(max_size=20).filter(lambda text: not UNSEEN.search(text))
SCALARS = st.none() | st.booleans() | st.integers(-(10**90), 10**90) | st.floats(allow_nan=False) | VISIBLE
CONTENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(VISIBLE, inner, max_size=4), max_leaves=12
)


class Dumper(yaml.SafeDumper):
    """PyYAML's, which quotes whatever our reader would not take for text."""


Dumper.yaml_implicit_resolvers = Loader.yaml_implicit_resolvers


@given(st.text() | SYNTAX)
def test_a_text_is_a_value_or_an_error_for_the_user(text):
    try:
        parse_yaml(text, "test")
    except UserError as error:
        assert str(error).startswith("test")


@given(st.binary() | SYNTAX.map(str.encode))
def test_a_file_is_a_mapping_or_an_error_for_the_user(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(read_mapping(path), dict)
    except UserError as error:
        assert str(path) in str(error)


@given(CONTENTS)
def test_what_is_written_is_read(content):
    read = parse_yaml(yaml.dump(content, Dumper=Dumper, allow_unicode=True, sort_keys=False), "test")
    assert read == content
    assert repr(read) == repr(content)  # 1 is not 1.0, and not true


@given(st.integers(-(10**60), 10**60))
def test_whole_numbers(number):
    for text in (str(number), f"{number:+d}", *([hex(number), oct(number)] if number >= 0 else [])):
        value = parse_yaml(text, "test")
        assert (value, type(value)) == (number, int)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_as_python_and_people_write_them(number):
    for text in (repr(number), f"{number:.3e}", f"{number:e}".replace("e+", "e"), f"{number:E}"):
        value = parse_yaml(text, "test")
        assert (value, type(value)) == (float(text), float)
    assert math.copysign(1, parse_yaml(repr(number), "test")) == math.copysign(1, number)


@given(VISIBLE, VISIBLE, st.sampled_from(["\0", "\x07", "\x1b[2J", "\x7f", "\x9b31m", "\u202e", "\u2028", "\ud800"]))
def test_what_cannot_be_seen_is_refused_wherever_it_stands(before, after, unseen):
    text = '"' + "".join(f"\\U{ord(letter):08x}" for letter in before + unseen + after) + '"'
    for content in (text, f"{text}: 1", f"a: [{text}]"):
        with pytest.raises(UserError, match=r"cannot be seen"):
            parse_yaml(content, "test")
