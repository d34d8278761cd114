"""The one exception family: every error a user can cause or mend.

A message says what was expected, what was found and what to do, on one line. The command line
prints it without a traceback and exits with :attr:`HemogatError.exit_code`; the server answers
with the status that fits.
"""

from __future__ import annotations

from collections.abc import Sequence


class HemogatError(Exception):
    """Something failed or was refused, and the message says why."""

    exit_code = 1


class InputError(HemogatError):
    """What the user handed in (audio, text, manifest row, request) cannot be used.

    ``problems``: all that is wrong with it, where the message names only the first few.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class ConfigError(HemogatError):
    """A recipe or setting is invalid or does not fit the data."""


class BundleError(HemogatError):
    """A bundle or run directory is missing, incomplete, altered or of an unknown version."""


class TrainingError(HemogatError):
    """Training cannot go on: what it learns is no number any more."""


class ParityError(HemogatError):
    """An exported graph does not give what the torch reference gives; nothing was handed out."""


class ServerError(HemogatError):
    """The server did not start, died, or answered with an error."""


class UnavailableError(ServerError):
    """The server cannot be reached or is overloaded: the same request may succeed later."""


class IncompleteError(HemogatError):
    """Something that the work needs is not installed or not on this machine."""

    exit_code = 3
