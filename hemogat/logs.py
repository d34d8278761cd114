"""Where what this package tells while it runs is shown: in programs, not in the library."""

from __future__ import annotations

import logging
import sys


class _PlainLines(logging.Handler):
    """Writes messages to what standard error is by then."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def show_information() -> None:
    """Write what is logged at level info and above to standard error, one plain line each."""
    logger = logging.getLogger("hemogat")
    if not any(isinstance(handler, _PlainLines) for handler in logger.handlers):
        logger.addHandler(_PlainLines())
    logger.setLevel(logging.INFO)
