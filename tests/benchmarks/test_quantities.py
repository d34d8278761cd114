from __future__ import annotations

import pytest

from hemogat.benchmarks.figures import Unit
from hemogat.benchmarks.quantities import number, plus_minus, quantity


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


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (155.3, 152.5, 157.1, "155 ± 3"),
        (3.89, 3.85, 3.93, "3.89 ± 0.04"),
        (7.0, 5.6, 8.0, "7.0 ± 1.4"),
        (6444.2, 6300, 6500, "6,444 ± 144"),
        (1.0, 0.04, 1.2, "1.0 ± 1.0"),
        (2.5, 2.5, 2.5, "2.50"),
        (6444.2, None, None, "6,444"),
        (0.512, None, None, "0.512"),
    ],
)
def test_a_number_with_its_interval(
    value: float, low: float | None, high: float | None, text: str
) -> None:
    assert plus_minus(value, low, high) == text
