"""Numbers with the digits that they bear."""

import math

EXTRA_DIGITS = 3  # that an interval may get so that it looks as decided as it is, and no more

Limits = tuple[float, float, float]


def write_numbers(numbers: tuple[float, float, float], limits: Limits, digits: int) -> tuple[str, str, str]:
    """An estimate and the ends of its interval, with the digits that the interval's width bears.

    limits: the lower margin, no difference, the upper margin.  There are more digits where the interval would otherwise
    look decided when it is not, or open when it is decided; if the most do not help, its ends are rounded outwards.
    """
    estimate, low, high = numbers
    fewest = choose_digits(high - low, digits)
    most = fewest + EXTRA_DIGITS
    for places in range(fewest, most + 1):
        if looks_the_same((round(low, places), round(high, places)), (low, high), limits):
            return write(estimate, places), write(low, places), write(high, places)
    low, high = math.floor(low * 10**most) / 10**most, math.ceil(high * 10**most) / 10**most
    return write(estimate, most), write(low, most), write(high, most)


def looks_the_same(rounded: tuple[float, float], exact: tuple[float, float], limits: Limits) -> bool:
    """Whether the rounded ends lie on the same sides of all limits that matter for the verdict as the exact ones."""
    lower, middle, upper = limits
    low, high = 0, 1
    matters = [(low, middle), (high, middle), (low, upper), (high, lower)]
    matters += [(low, lower)] if exact[high] <= upper else []
    matters += [(high, upper)] if exact[low] >= lower else []
    return all(side(rounded[end], limit) == side(exact[end], limit) for end, limit in matters)


def choose_digits(width: float, digits: int) -> int:
    """Decimal places at which half the width is two units or more, near those of the metric (`digits`)."""
    if width <= 0:
        return digits
    fewest = digits if digits < 2 else digits - 1
    return min(max(math.ceil(-math.log10(width / 4)), fewest), digits + 2)


def side(number: float, limit: float) -> int:
    """-1 below the limit, 0 on it, 1 above."""
    return (number > limit) - (number < limit)


def write(number: float, places: int) -> str:
    """A number with its thousands apart, and no minus before a zero; in powers of ten from 10^9 on."""
    if abs(number) >= 1e9:
        return f"{number:.2g}"
    text = f"{number:,.{places}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text
