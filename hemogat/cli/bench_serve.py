"""``hemogat bench serve``: a bundle's server under load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.bench_report import remark_written
from hemogat.cli.extras import needs
from hemogat.cli.numbers import whole_numbers, words
from hemogat.cli.output import JsonOption, print_json, print_table, remark
from hemogat.contract import Engine, Precision
from hemogat.errors import ConfigError

if TYPE_CHECKING:
    from hemogat.benchmarks.serving_load_report import LoadReport


def serve(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="Bundle folder.", show_default="latest bundle"),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="gRPC address of a server that serves the bundle already.",
            show_default="one started for this",
        ),
    ] = None,
    engine: Annotated[
        Engine | None,
        typer.Option(
            help="What executes the graphs.", show_default="the bundle's first; --url: the server's"
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Number type of the graphs.",
            show_default="the bundle's first; --url: the server's",
        ),
    ] = None,
    concurrency: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N",
            help="Closed loop with N requests under way; several: repeat, or commas.",
            show_default="1, 2, 4, 8, 16, 32",
        ),
    ] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="R",
            help="Open loop with R requests a second, or R% of the closed loops' best; several.",
            show_default="50%, 80%, 150%",
        ),
    ] = None,
    streams: Annotated[
        int, typer.Option(min=0, metavar="N", help="Real-time streams at once; 0: none.")
    ] = 20,
    seconds: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="How long each load lasts.")
    ] = 15.0,
    overload_seconds: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="How long those beyond 100% last.")
    ] = 60.0,
    stream_seconds: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="How long streams last.")
    ] = 30.0,
    warm_up_seconds: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="How long each load lasts before it counts.")
    ] = 2.0,
    turn_seconds: Annotated[
        float,
        typer.Option(
            min=0.1, metavar="S", help="Of pipeline and server in turns; long enough for batches."
        ),
    ] = 4.0,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Threads that one graph may use.",
            show_default="all cores; --url: the server's",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write the report to: JSON, Markdown, a page and a picture.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put load on a bundle's server, and compare it with the pipeline in process.

    The utterances are the bundle's golden cases. Loads follow one another:
    closed loops, open loops (Poisson arrivals), streams at speaking pace.
    """
    from hemogat.config import parse_settings
    from hemogat.progress import Progress
    from hemogat.workspace import find_latest

    with needs("serve"):
        from hemogat.benchmarks.serving_load import measure_serving_load
        from hemogat.benchmarks.serving_load_report import LoadSettings, write_load_report

    if out is not None:
        with needs("train"):
            import hemogat.benchmarks.serving_load_plot  # noqa: F401 - before minutes of load
    given = {
        "engine": engine,
        "precision": precision,
        "concurrency": whole_numbers("--concurrency", concurrency) or None,
        "threads": threads,
        **_rates(words(rate)),
    }
    raw = {
        "streams": streams,
        "duration_s": seconds,
        "overload_s": overload_seconds,
        "stream_s": stream_seconds,
        "warm_up_s": warm_up_seconds,
        "compare_s": turn_seconds,
    } | {name: value for name, value in given.items() if value is not None}
    settings = parse_settings(LoadSettings, raw, source="bench serve")
    if bundle is None:
        bundle = find_latest("bundle.json")
        remark(f"latest bundle: {bundle}")
    report = measure_serving_load(
        bundle, url=url, settings=settings, progress=Progress(visible=True)
    )
    if out is not None:
        remark_written(report, write_load_report(report, out))
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print_load(report)


def _rates(given: Sequence[str]) -> dict[str, list[float]]:
    """Sort "20" and "80%" into rates and shares of the capacity."""
    if not given:
        return {}
    rates: list[float] = []
    shares: list[float] = []
    for rate in given:
        try:
            number = float(rate.removesuffix("%"))
        except ValueError as error:
            raise ConfigError(f"--rate: expected a number or a percentage, found {rate}") from error
        (shares if rate.endswith("%") else rates).append(number)
    return {"rates_per_s": rates, "capacity_shares": [share / 100 for share in shares]}


def _print_load(report: LoadReport) -> None:
    from hemogat.benchmarks.serving_load_report import LEVEL_COLUMNS, MODEL_COLUMNS

    load, *figures = LEVEL_COLUMNS
    print_table((load,), figures, report.level_rows())
    typer.echo()
    load, model, *figures = MODEL_COLUMNS
    print_table((load, model), figures, report.model_rows())
    typer.echo()
    for line in report.conditions():
        typer.echo(f"- {line}")
