"""Options that measuring commands share, and the refusal of those that do not apply."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer.models import OptionInfo

from hemogat.errors import ConfigError

EpochsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Fresh processes of each target, at least; from 3 on there are intervals.",
        show_default="5",
    ),
]
RoundsOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Turns of each target in all, at least.", show_default="30"
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder to write the report to: JSON, Markdown and a page.", show_default=False
    ),
]


def limit_option(default: str) -> OptionInfo:
    """Return the option of how long to measure; ``default`` is told in the help."""
    found: OptionInfo = typer.Option(
        "--limit-s",
        min=0,
        metavar="S",
        help="While a median is known to no better than ±5 %: begin no epoch that ends later.",
        show_default=default,
    )
    return found


def refuse(why: str, **given: object) -> None:
    """Refuse the options that were given (None or empty: was not), by their names.

    Raises:
        ConfigError: one was given; ``why`` says what it is for.
    """
    found = [
        f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
        for name, value in given.items()
        if value is not None and value != ()
    ]
    if found:
        raise ConfigError(f"{', '.join(found)}: {why}")


def chosen(**given: object) -> dict[str, object]:
    """Return the options that were given."""
    return {name: value for name, value in given.items() if value is not None}
