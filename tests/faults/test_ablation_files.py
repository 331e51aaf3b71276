"""Damaged ablation files through the reading of the real ones: a plan that means what the file says, or a UserError."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from segcore.config import flatten
from segcore.errors import UserError
from segcore.execution.planning import Lookup, make_plans
from segcore.execution.request import Request
from segcore.plan import Plan
from segcore.yaml_files import read_mapping
from tests.faults.damage import damaged, tell, try_reader

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILES = sorted(EXPERIMENTS.glob("*.yaml"))
# Real data at no cost: settings of a damaged file must not ask for a million pictures.
SMALL = ("data.format=synthetic", "data.synthetic_images=12", "data.image_size=32")

WORDS = (
    *("!!python/object/apply:os.system [id]", "!!binary x", "!!set {a}", "&a [*a]", "<<: *b", "? [1]", "{{}}", "%s"),
    *("1e999", "-1", "0", "9" * 400, "0x" + "f" * 300, ".nan", ".inf", "null", "true", "~", "010", "1:30", "1_0"),
    *(
        '"\\0"',
        '"\\e[2J"',
        '"\\ud800"',
        '"\\u202e"',
        "\ufeff",
        "\u2028",
        "\x85",
        "'",
        '"',
        "- - -",
        "---",
        "...",
        "|",
        ">",
    ),
    *("../../etc/passwd", "<script>", "[red]x[/red]", "$(id)", "name:", "arms:", "seeds: []", "seeds: [1, 1]", "[]"),
)


def mutated(draw: random.Random) -> bytes:
    """A file of `experiments/` with damaged bytes, a word in place of another, or lines of two files mixed."""
    content = draw.choice(FILES).read_bytes()
    kind = draw.randrange(4)
    if kind == 0:
        return damaged(content, draw)
    lines = content.decode().splitlines()
    if kind == 1:
        other = draw.choice(FILES).read_text().splitlines()
        start, end = sorted(draw.randrange(len(lines)) for _ in range(2))
        place = draw.randrange(len(other))
        lines[start:end] = other[place : place + draw.randint(1, 5)]
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(lines))
        words = lines[place].split(" ")
        words[draw.randrange(len(words))] = draw.choice(WORDS)
        lines[place] = " ".join(words)
    return "\n".join(lines).encode()


def extremes() -> Iterator[bytes]:
    """What damage alone seldom makes."""
    text = (EXPERIMENTS / "lr_sweep.yaml").read_text()
    laughs = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    merged = ["m0: &m0 {a: 1}", *(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}" for n in range(1, 60))]
    for opened, closed in (("[", "]"), ("{a: ", "}"), ("- ", ""), ("!!seq [", "]"), ("? ", "")):
        yield f"{text}\nx: {opened * 10_000}{closed * 10_000}".encode()
        yield (opened * 10_000).encode()
    yield "\n".join(f"{' ' * level}a{level}:" for level in range(400)).encode()
    yield "\n".join([text, *laughs]).encode()
    yield "\n".join([text, *merged]).encode()
    yield text.replace("[42, 43, 44]", "&s [*s]").encode()
    for number in ("9" * 100_000, "1e999999999", "0x" + "f" * 99_999, "-1e-9999", "1" + "0" * 50 + ".0"):
        yield text.replace("42", number).encode()
        yield text.replace("1e-3", number).encode()
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp500"):
        yield text.encode(encoding)
    yield from (b"", b"\0" * 1000, b"\xff" * 1000, text.encode() + b"\0", b"\n" * 100_000, b"a: b\n" * 100_000)
    yield text.encode() * 200


def meant(text: str, value: Any) -> bool:
    """Whether a value is what a plain reading of a scalar's text gives."""
    if isinstance(value, bool):
        return text.lower() == str(value).lower()
    if isinstance(value, int):
        return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10)) == value
    if isinstance(value, float):
        plain = text.lower().replace(".inf", "inf").replace(".nan", "nan")
        return float(plain) == value or value != value
    return text in ("", "~", "null", "Null", "NULL") if value is None else text == value


def same(texts: Any, values: Any) -> bool:
    """Whether content with typed values says what the same content says as texts."""
    if isinstance(values, dict):
        keys = [key if isinstance(key, str) else next(text for text in texts if meant(text, key)) for key in values]
        return list(texts) == keys and all(map(same, texts.values(), values.values()))
    if isinstance(values, list):
        return len(texts) == len(values) and all(map(same, texts, values))
    return isinstance(texts, str) and meant(texts, values)


def check_plan(plans: list[Plan], content: bytes) -> None:
    """What a plan holds is what the file says: each setting of each arm, name, arms, seeds and claims."""
    (plan,) = plans
    text = content.decode()
    said = yaml.load(text, yaml.BaseLoader)  # every scalar as it is written, which is the plain reading
    read = read_mapping(Path(plan.ablation.source))
    if "<<" not in text and "!" not in text:
        assert same(said, read), (said, read)
    definition = plan.ablation.definition
    assert definition.name == said["name"]
    assert [str(arm) for arm in said["arms"]] == list(definition.arms) == list(plan.arms)
    assert definition.seeds == read["seeds"]
    assert len(definition.hypotheses) == len(read.get("hypotheses") or [])
    for arm, (config, _) in plan.arms.items():
        resolved = config.flat()
        wanted = flatten(read.get("settings") or {}) | {"data.image_size": 32} | flatten(read["arms"][arm])
        assert {key: resolved[key] for key in wanted if key not in overridden()} == {
            key: value for key, value in wanted.items() if key not in overridden()
        }


def overridden() -> set[str]:
    return {override.partition("=")[0] for override in SMALL}


def fuzz(folder: Path, cases: Iterator[bytes]) -> Counter[str]:
    lookup = Lookup(may_download=False)
    overrides = (*SMALL, f"data.cache_dir={folder}/cache")
    path = folder / "fuzz.yaml"
    return try_reader(lambda file: make_plans(Request([file], overrides), lookup), UserError, check_plan, path, cases)


def test_a_sample_of_damaged_files(tmp_path):
    draw = random.Random(0)
    counts = fuzz(tmp_path, (mutated(draw) for _ in range(150)))
    assert counts["accepted"] > 10
    assert counts["refused"] > 50


def test_every_ablation_as_it_is(tmp_path):
    assert fuzz(tmp_path, (path.read_bytes() for path in FILES))["accepted"] == len(FILES)


def test_extreme_files_are_refused_quickly(tmp_path):
    counts = fuzz(tmp_path, extremes())
    assert counts["accepted"] <= 3  # with a byte-order mark, say


@pytest.mark.faults
def test_thousands_of_damaged_files(tmp_path):
    draw = random.Random(1)
    counts = fuzz(tmp_path, (mutated(draw) for _ in range(4000)))
    tell("damaged ablation files", counts)
    assert counts["accepted"] > 200
    assert counts["refused"] > 1000
