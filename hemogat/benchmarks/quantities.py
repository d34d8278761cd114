"""Numbers with units, as tables and pictures print them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hemogat.benchmarks.figures import Figure, Unit

_DIGITS = 3
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_PREFIXED: frozenset[Unit] = frozenset({"MAC", "MAC/s", "B", "B/s", "count"})


def quantity(value: float, unit: Unit) -> str:
    """Return a number with its unit, to three digits: "12.3 ms", "11.6 M", "6.90 GMAC"."""
    divisor, scaled_unit = column_scale([value], unit)
    return f"{number(value / divisor)} {scaled_unit}".rstrip()


def column_scale(values: Sequence[float], unit: Unit) -> tuple[float, str]:
    """Return what to divide numbers of one column by, and the unit they then have."""
    name = {"count": "", "ratio": "×"}.get(unit, unit)
    if unit in _PREFIXED:
        largest = max(map(abs, values), default=0.0)
        for size, letter in _PREFIXES:
            if largest >= size:
                return size, letter + name
    return 1.0, name


def number(value: float) -> str:
    """Return a number to three digits, without an exponent: 1234, 12.3, 0.0123, 7."""
    if value == int(value) and abs(value) < 10**_DIGITS:
        return str(int(value))
    decimals = 0
    while decimals < 9 and abs(value) * 10**decimals < 10 ** (_DIGITS - 1):
        decimals += 1
    return f"{value:.{decimals}f}"


def interval(figure: Figure) -> str:
    """Return the bounds of a figure's interval; nothing where it has none."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{number(figure.low)} to {number(figure.high)}"


def plus_minus(value: float, low: float | None, high: float | None) -> str:
    """Return a number and how far its interval reaches to the wider side: "155 ± 3".

    Both to the first digit of the latter, to two where the first is a 1; to three digits where
    there is no interval.
    """
    if low is None or high is None:
        return _grouped(value, number(value))
    half = max(value - low, high - value)
    if half <= 0:
        return _grouped(value, number(value))
    decimals = max(0, -math.floor(math.log10(half)))
    if half * 10**decimals >= 9.5:  # it is rounded to one digit more
        decimals = max(0, decimals - 1)
    if half * 10**decimals < 1.95:  # one digit would be half as much again, or a third less
        decimals += 1
    return f"{value:,.{decimals}f} ± {half:,.{decimals}f}"


def _grouped(value: float, plain: str) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else plain
