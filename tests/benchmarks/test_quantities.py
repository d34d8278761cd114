from __future__ import annotations

import pytest

from hemogat.benchmarks.figures import Unit
from hemogat.benchmarks.quantities import number, quantity


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12.345, "ms", "12.3 ms"),
        (11_566_084, "count", "11.6 M"),
        (551, "count", "551"),
        (6.9e9, "MAC", "6.90 GMAC"),
        (1.85e11, "MAC/s", "185 GMAC/s"),
        (1234.5, "MiB", "1234 MiB"),
        (2.5, "ratio", "2.50 ×"),
        (0, "%", "0 %"),
    ],
)
def test_three_digits_and_the_unit(value: float, unit: Unit, text: str) -> None:
    assert quantity(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.012345, "0.0123"), (-3.14159, "-3.14"), (99.96, "100.0"), (1e-12, "0.000000000")],
)
def test_small_numbers_keep_their_digits(value: float, text: str) -> None:
    assert number(value) == text
