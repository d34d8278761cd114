"""Where what this package tells while it runs is shown: in programs, not in the library."""

from __future__ import annotations

import logging
import sys


class _PlainLines(logging.Handler):
    """Writes messages to what standard error is by then; that nobody reads it ends nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(_line(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)  # as all handlers; of a broken pipe it says nothing


def _line(record: logging.LogRecord) -> str:
    """Return the message, with the error that it is about but without its traceback."""
    error = record.exc_info[1] if record.exc_info else None
    about = [] if error is None else [f"({type(error).__name__}: {error})"]
    return " ".join(" ".join([record.getMessage(), *about]).splitlines())


def show_information() -> None:
    """Write what is logged at level info and above to standard error, one plain line each."""
    logger = logging.getLogger("hemogat")
    if not any(isinstance(handler, _PlainLines) for handler in logger.handlers):
        logger.addHandler(_PlainLines())
    logger.setLevel(logging.INFO)
