"""The ``hemogat`` command. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from hemogat import __version__
from hemogat.cli import (
    bank,
    bench,
    demo,
    doctor,
    evaluate,
    export,
    import_checkpoint,
    inspect,
    predict,
    prepare,
    repository,
    serve,
    study,
    train,
)
from hemogat.cli.group import CommandGroup

app = typer.Typer(
    name="hemogat",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed or refused, 2 usage, 3 something needed is missing here, "
    "4 a gate on reports of two machines.",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"hemogat {__version__}")
        raise typer.Exit


@app.callback()
def hemogat(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Train, export, serve and measure HemoGAT speech emotion recognition."""


app.command()(demo.demo)
app.add_typer(prepare.app, name="prepare")
app.command()(train.train)
app.command()(import_checkpoint.import_checkpoint)
app.command()(evaluate.evaluate)
app.command()(study.study)
app.command()(export.export)
app.command()(inspect.inspect)
app.add_typer(bank.app, name="bank")
app.command()(predict.predict)
app.command()(repository.repository)
app.command()(serve.serve)
app.add_typer(bench.app, name="bench")
app.command()(doctor.doctor)


def run() -> None:
    """Run the command line."""
    app()
