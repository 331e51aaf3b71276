"""Reading YAML: safe, with numbers as YAML 1.2 has them, and errors that name file and line."""

import re
from pathlib import Path
from typing import Any

import yaml

from segcore.errors import UserError

# Far beyond any ablation; what is larger or deeper is a mistake, or meant to use up memory.
MOST_CHARACTERS = 200_000
MOST_VALUES = 100_000
MOST_LEVELS = 50
MOST_DIGITS = 100

# What moves the cursor, hides text or turns its direction on a terminal or a page, and half of a character.
UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but `1e-3` is a number, `no` and `010` are read as YAML 1.2 does, and a key given twice is
    an error.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As PyYAML does, after a look for keys that stand twice."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if not isinstance(key, str | int | float | bool):
                raise yaml.MarkedYAMLError(problem="a key must be plain text", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"{key!r} is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        """Decimal, or hexadecimal and octal with 0x and 0o."""
        text = str(self.construct_scalar(node))
        if len(text) > MOST_DIGITS:
            raise yaml.MarkedYAMLError(problem="a number of so many digits", problem_mark=node.start_mark)
        return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))


# YAML 1.1, which PyYAML reads, wants a dot in a float, takes yes, no, on and off for booleans, 010 for 8, 1:30 for 90,
# and 2026-01-01 for a date.
REPLACED = ("bool", "float", "int", "timestamp", "value")
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^([-+]?([0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(inf|Inf|INF))"
        r"|\.(nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_whole_number)


def parse_yaml(text: str, source: str) -> Any:
    """The value that the text holds.

    Raises UserError with `source`, line and reason where it is not YAML, where a text in it holds characters that
    cannot be seen, and where it is larger than any ablation, by its length, its depth or what its aliases amount to.
    """
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"{source}: has more than {MOST_CHARACTERS:,} characters, more than any ablation needs")
    try:
        loader = Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            check_node(node)
            return loader.construct_document(node)  # type: ignore[no-untyped-call]
        finally:
            loader.dispose()  # type: ignore[no-untyped-call]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}, line {mark.line + 1}" if mark else source
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{where}: not valid YAML: {problem}") from None
    # What a tag says and its text does not hold: `!!int x`, `!!timestamp x`.
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise UserError(f"{source}: not valid YAML: {error}") from None
    except RecursionError:
        raise UserError(f"{source}: not valid YAML: nested too deeply") from None


def check_node(root: yaml.Node) -> None:
    """Refuses what would become too large or too deep, before anything is made of it, and text that cannot be seen.

    An alias counts as often as it stands, since a few lines of them can stand for billions of values.
    """
    sizes: dict[int, int] = {}

    def measure(node: yaml.Node, level: int) -> int:
        if level > MOST_LEVELS:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            check_text(node)
            return 1
        if id(node) not in sizes:
            # Until it is known: an alias inside of what it stands for would never end.
            sizes[id(node)] = MOST_VALUES + 1
            below = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
            sizes[id(node)] = 1 + sum(measure(part, level + 1) for part in below)
        if sizes[id(node)] > MOST_VALUES:
            raise yaml.MarkedYAMLError(
                problem=f"an alias within itself, or more than {MOST_VALUES:,} values", problem_mark=node.start_mark
            )
        return sizes[id(node)]

    measure(root, 1)


def check_text(node: yaml.ScalarNode) -> None:
    """Refuses text with characters that cannot be seen, such as those that steer a terminal."""
    if found := UNSEEN.search(node.value):
        raise yaml.MarkedYAMLError(
            problem=f"the character U+{ord(found[0]):04X}, which cannot be seen; remove it",
            problem_mark=node.start_mark,
        )


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.  Raises UserError where it is missing, unreadable, empty or no mapping."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as text: {error}") from None
    content = parse_yaml(text, str(path))
    if content is None:
        raise UserError(f"{path}: the file is empty; experiments/lr_sweep.yaml shows what belongs into one")
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: must hold keys and values, such as `name: lr_sweep`")
    return content
