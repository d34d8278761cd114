"""``hemogat bench suite``: several measurements from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hemogat.cli.output import remark
from hemogat.errors import ConfigError

if TYPE_CHECKING:
    from hemogat.benchmarks.suites import Suite


def suite(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="SUITE.yaml", help="benchmarks/suites has some.")],
    out: Annotated[Path, typer.Option(help="Folder for reports and page.", show_default=False)],
) -> None:
    """Run a suite of measurements; go on where an earlier run stopped.

    Every step writes its report as JSON and Markdown into a folder of its name;
    a page shows all. Steps whose report is there already are not run again.
    """
    from hemogat.benchmarks.suites import Suite, run_suite
    from hemogat.config import load_settings

    found = load_settings(Suite, file)
    assert ctx.parent is not None
    check_settings(found, file, ctx.parent.command)
    remark(f"page: {run_suite(found, out, remark)}")


def check_settings(found: Suite, file: Path, group: Any) -> None:
    """Refuse settings that no option of the commands in ``group`` takes, before anything runs.

    Raises:
        ConfigError: naming the step and the setting.
    """
    for step in found.steps:
        parameters = group.commands[step.command].params
        known = {option for p in parameters for option in (*p.opts, *p.secondary_opts)}
        for name in step.settings:
            if f"--{name.replace('_', '-')}" not in known - {"--out", "--json"}:
                raise ConfigError(
                    f"{file}: steps.{step.name}.settings: hemogat bench {step.command} has no "
                    f"option for {name!r}; see hemogat bench {step.command} --help"
                )
