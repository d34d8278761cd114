"""``hemogat bench report``: reports as one HTML page; and the pages that other commands write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.output import remark
from hemogat.errors import ConfigError, IncompleteError

if TYPE_CHECKING:
    from hemogat.benchmarks.report import BenchReport


def report(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT.json...", help="What commands wrote with --out.")
    ],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    title: Annotated[
        str | None, typer.Option(help="Heading.", show_default="the first report's")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Bundle whose parity report tells the labels that engines change (summary).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write one HTML page of reports: a summary, pictures, tables, settings.

    The page stands alone: it loads nothing, and prints well. The summary is
    there with a report of peers.
    """
    from hemogat.benchmarks.report import read_report
    from hemogat.benchmarks.report_page import write_page

    if out.suffix.lower() not in (".html", ".htm"):  # a slip would overwrite a result
        raise ConfigError(f"--out {out}: expected a file name that ends in .html")
    flips = None
    if bundle is not None:
        from hemogat.runtime.bundle import Bundle
        from hemogat.runtime.parity_report import labels_flipped

        flips = labels_flipped(Bundle.open(bundle))
    write_page([read_report(path) for path in results], out, title, flips)
    remark(f"page: {out}")


def remark_written(written: BenchReport, path: Path) -> None:
    """Say where a report was written, and write its page beside it.

    Without what draws pictures there is no page: a measurement is not lost for that.
    """
    from hemogat.benchmarks.report_page import write_page

    remark(f"report: {path}")
    page = path.with_suffix(".html")
    try:
        write_page([written], page)
    except IncompleteError as error:
        remark(f"no page: {error}")
    else:
        remark(f"page: {page}")
