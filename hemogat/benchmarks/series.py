"""How times went during a measurement: every round's median, so that drift can be drawn."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from hemogat.config import Settings

_DIGITS = 4


def _split(value: object) -> object:
    return value.split() if isinstance(value, str) else value


def _rounded(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values)


def _joined(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


# To four digits, and one text in JSON, where each number of a list would get a line of its own.
Numbers = Annotated[
    tuple[float, ...], BeforeValidator(_split), AfterValidator(_rounded), PlainSerializer(_joined)
]


class Series(Settings):
    """One target and case: the medians of its rounds, an entry for each epoch.

    ``target`` and ``axes`` are those of its figures; the reference workload's is "reference".
    ``started_s``: when each epoch's first round began, from the measurement's start.
    """

    target: str
    axes: dict[str, str | int] = Field(default_factory=dict)
    started_s: Numbers
    medians_ms: tuple[Numbers, ...]
