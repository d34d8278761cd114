"""Options that take several values: repeated, or in a list with commas."""

from __future__ import annotations

from collections.abc import Sequence

from hemogat.errors import ConfigError


def words(given: Sequence[str] | None) -> tuple[str, ...]:
    """Return every value of ``["a,b", "c"]``; none for None."""
    parts = (part.strip() for item in given or () for part in item.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def whole_numbers(option: str, given: Sequence[str] | None) -> tuple[int, ...]:
    """Return every number of ``["1,4", "8"]``; none for None.

    Raises:
        ConfigError: one is not a whole number of at least 1.
    """
    found = words(given)
    for word in found:
        if not word.isdecimal() or int(word) < 1:
            raise ConfigError(f"{option}: expected whole numbers from 1, as in 1,4, found {word!r}")
    return tuple(int(word) for word in found)
