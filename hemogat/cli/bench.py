"""``hemogat bench``: how long a bundle takes to answer, stage by stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.extras import needs
from hemogat.cli.output import JsonOption, print_json, print_table, remark

if TYPE_CHECKING:
    from hemogat.benchmarks.latency_report import LatencyReport


def bench(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="Bundle folder.", show_default="latest bundle"),
    ] = None,
    utterances: Annotated[int, typer.Option(min=1, metavar="N", help="How many to time.")] = 200,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Threads that one graph may use.", show_default="all cores"
        ),
    ] = None,
    triton: Annotated[
        bool, typer.Option(help="Measure through a Triton server too, started for that.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write the report to as JSON.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Report the latency of single utterances, in process and through Triton.

    The clips are the bundle's golden cases. Without a tritonserver the report
    says so and holds the rest.
    """
    from hemogat.progress import Progress
    from hemogat.workspace import find_latest

    with needs("serve"):
        from hemogat.benchmarks.bundle_latency import measure_bundle
        from hemogat.benchmarks.latency import LatencySettings
        from hemogat.benchmarks.latency_report import write_report

    if bundle is None:
        bundle = find_latest("bundle.json")
        remark(f"latest bundle: {bundle}")
    report = measure_bundle(
        bundle,
        settings=LatencySettings(utterances=utterances, threads=threads),
        triton=triton,
        progress=Progress(visible=True),
    )
    if out is not None:
        remark(f"report: {write_report(report, out)}")
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print_report(report)


def _print_report(report: LatencyReport) -> None:
    from hemogat.benchmarks.latency_report import TABLE_COLUMNS

    place, stage, *figures = TABLE_COLUMNS
    print_table((place, stage), figures, report.table_rows())
    typer.echo()
    for condition in report.conditions():
        typer.echo(f"- {condition}")
