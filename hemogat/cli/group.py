"""How commands end: what a user can cause or mend is one line, never a traceback.

Where that line has no room for all that is wrong with a file, a list goes before it.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from hemogat.data.problems import SHOWN
from hemogat.errors import HemogatError, IncompleteError, InputError
from hemogat.optional import pip_line

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class CommandGroup(TyperGroup):
    """Turns errors into one line on standard error and an exit code.

    0 done, 1 failed or refused, 2 usage, 3 incomplete (something needed is missing here).
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except HemogatError as error:
            if isinstance(error, InputError):
                _list(error.problems)
            _say(f"error: {error}")
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            _say(str(error) or "interrupted")
            raise typer.Exit(INTERRUPTED) from error
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "hemogat":
                raise  # a fault of ours, which no installation mends
            _say(
                f"error: {error.name} is not installed; install what hemogat needs with: "
                f"{pip_line()}"
            )
            raise typer.Exit(IncompleteError.exit_code) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader left, which typer ends quietly
                raise
            _say(f"error: {_os_error(error)}")
            raise typer.Exit(1) from error


class DefaultCommandGroup(TyperGroup):
    """A group whose first command runs when none is named, as in ``bench BUNDLE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the first command's name where none is."""
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [next(iter(self.commands)), *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


def _list(problems: Sequence[str]) -> None:
    """Print the problems, one a line, if the message that follows does not name them all."""
    if len(problems) > SHOWN:
        for problem in problems:
            _say(f"  {problem}")


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror or error}"
