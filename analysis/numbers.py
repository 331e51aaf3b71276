"""Numbers and lists as people read them."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

NONE = "–"


def flat(text: str) -> str:
    """A text on one line."""
    return " ".join(str(text).split())


def plural(number: int, word: str, words: str = "") -> str:
    """`1 run`, `3 runs`; words: the plural, where it is not the word with an s."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def name_seeds(seeds: Sequence[int]) -> str:
    """`seed 42`, `seeds 42, 43`."""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def join(words: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    listed = list(words)
    return f" {last} ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else "".join(listed)


def number(value: float, digits: int) -> str:
    """A number with so many digits after the point; no negative zero, thousands set apart."""
    if not math.isfinite(value):
        return NONE
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text


def signed(value: float, digits: int) -> str:
    """The same with its sign, which zero has not."""
    text = number(value, digits)
    return text if text == NONE or text.startswith("-") or not text.strip("0.,") else f"+{text}"


def mean_and_spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation over seeds; the value alone where there is one, a dash where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return NONE
    mean = math.fsum(finite) / len(finite)
    if len(finite) == 1:
        return number(mean, digits)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in finite) / (len(finite) - 1))
    return f"{number(mean, digits)} ± {number(spread, digits)}"


def with_unit(text: str, unit: str, is_ratio: bool = False) -> str:
    """`0.4 points`, `1 point`, `3.9 times`."""
    if text == NONE:
        return NONE
    one = text in ("1", "+1", "-1") and len(unit) > 1
    return " ".join(part for part in (text, "times" if is_ratio else unit.removesuffix("s") if one else unit) if part)


def counted(amount: str, word: str) -> str:
    """`1 epoch`, `12 epochs`, `1 or 2 epochs`."""
    return f"{amount} {word}{'s' * (amount != '1')}"


def interval(low: float, high: float, digits: int) -> str:
    """`-0.1 to 0.9`; a bound that was not computed is said to be unbounded."""
    return f"{number(low, digits)} to {number(high, digits)}"


def level(value: float) -> str:
    """`95 %`, `99.17 %`."""
    return f"{100 * value:.2f}".rstrip("0").rstrip(".") + " %"


def duration_unit(seconds: Sequence[float]) -> tuple[str, float]:
    """The unit in which the longest of some durations is easy to read, and the seconds in it."""
    longest = max((value for value in seconds if math.isfinite(value)), default=0.0)
    return ("s", 1.0) if longest < 120 else ("min", 60.0) if longest < 7200 else ("h", 3600.0)


def setting(value: Any) -> str:
    """A setting's value as one would type it: `0.005`, `0.001` as `1e-3`, `unet`."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        return str(int(value))
    if isinstance(value, float) and 0 < abs(value) <= 1e-3:
        digits, exponent = f"{value:e}".split("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
    if isinstance(value, float):
        return f"{value:g}"
    return flat(value)


def runs_of(pairs: Iterable[tuple[str, int]], limit: int = 4) -> str:
    """Runs by arm and seeds: `lr 1e-3 (seeds 42, 43) and lr 1e-4 (seed 42)`; the count where they are many arms."""
    seeds: dict[str, list[int]] = {}
    for arm, seed in pairs:
        seeds.setdefault(arm, []).append(seed)
    shown = [
        f"{arm} (seed{'s' * (len(numbers) > 1)} {', '.join(map(str, sorted(numbers)))})"
        for arm, numbers in seeds.items()
    ]
    if len(shown) > limit:
        return f"{', '.join(shown[:limit])} and {plural(len(shown) - limit, 'more arm')}"
    return join(shown)
