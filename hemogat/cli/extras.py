"""Saying which extra is missing when a command's packages are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hemogat.errors import IncompleteError
from hemogat.optional import pip_line


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Guard the imports in the block: a package that cannot be imported is named with ``extra``.

    Raises:
        IncompleteError: a package, or something that it imports, is not installed.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "hemogat":
            raise  # a fault of ours, which no installation mends
        raise IncompleteError(
            f"this command needs {error.name}, which cannot be imported ({error}); "
            f"install it with: {pip_line(extra)}"
        ) from error
