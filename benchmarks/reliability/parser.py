"""What a parser of strangers' files owes: a result or a HemogatError of one line, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hemogat.errors import HemogatError


@dataclass(frozen=True)
class Parser:
    """One parser, and valid content to begin from."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...] = field(repr=False)


def parse(parser: Parser, content: bytes) -> None:
    """Have the content parsed.

    Raises:
        AssertionError: a refusal is not one line.
        Exception: whatever is no HemogatError: a finding.
    """
    try:
        parser.read(content)
    except HemogatError as error:
        if "\n" in str(error):
            raise AssertionError(f"a refusal of several lines: {error!r}") from error
