"""Many problems on one line: how many there are, and the first few of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SHOWN = 3


def all_problems(path: Path, problems: Sequence[str]) -> str:
    """Return the message of an error about ``path``, one line."""
    count = f"{len(problems)} problems: " if len(problems) > 1 else ""
    return f"{path}: {count}{first_few(problems, '; ')}"


def first_few(items: Sequence[str], separator: str) -> str:
    """Join the first :data:`SHOWN` of ``items`` and say how many more there are."""
    more = [f"and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return separator.join([*items[:SHOWN], *more])
