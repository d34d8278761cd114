"""``hemogat bench compare``: what got better or worse between two reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.output import JsonOption, print_json, print_table, remark
from hemogat.errors import ConfigError

if TYPE_CHECKING:
    from hemogat.benchmarks.report_comparison import FigureChange, ReportComparison

_COLUMNS = ("before", "after", "change", "95 % interval", "verdict")


def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE.json", help="Earlier report.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER.json", help="Later report.")],
    fail_on_regression: Annotated[
        str | None,
        typer.Option(
            metavar="P%",
            help="Exit with 1 when a figure got worse by more than that, beyond noise.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Show also what noise explains, or what is unknown.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare two reports figure by figure.

    A difference counts where the 95 % intervals do not overlap, or where the
    figure is counted and not measured. Figures measured once have no interval;
    nothing is concluded from them.
    """
    from hemogat.benchmarks.report import read_report
    from hemogat.benchmarks.report_comparison import compare as compare_reports

    tolerated = None if fail_on_regression is None else _share(fail_on_regression)
    found = compare_reports(read_report(before), read_report(after))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _print(found, every=every)
    if tolerated is None:
        return
    if regressions := found.regressions(tolerated):
        worst = regressions[0]
        remark(
            f"{len(regressions)} of {len(found.changes)} figures got worse by more than "
            f"{100 * tolerated:g} %: {worst.before.name}, {100 * worst.worsening:.1f} %"
            + (f" and {len(regressions) - 1} more" if len(regressions) > 1 else "")
        )
        raise typer.Exit(1)


def _share(given: str) -> float:
    """Read "10%" or "10" as 0.1."""
    try:
        percent = float(given.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 <= percent < float("inf"):
        raise ConfigError(
            f"--fail-on-regression: expected a percentage from 0, as in 10%, found {given!r}"
        )
    return percent / 100


def _print(found: ReportComparison, *, every: bool) -> None:
    from hemogat.benchmarks.agreement import agreements
    from hemogat.benchmarks.report_comparison import BEYOND_NOISE

    typer.echo(f"before  {found.before}\nafter   {found.after}\n")
    for difference in found.differences:
        typer.echo(f"- {difference}")
    if found.differences:
        typer.echo()
    shown = found.with_verdict(*BEYOND_NOISE)
    if every:
        shown += found.with_verdict("within noise", "same", "unknown")
    if shown:
        print_table(("figure",), _COLUMNS, map(_row, shown))
        typer.echo()
    counts = {v: len(found.with_verdict(v)) for v in (*BEYOND_NOISE, "within noise", "same")}
    told = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    if unknown := len(found.with_verdict("unknown")):
        told.append(f"{unknown} measured once, so noise may explain them")
    for name, only in (("before", found.only_before), ("after", found.only_after)):
        if only:
            told.append(f"{len(only)} only {name} ({only[0].name}{', ...' if only[1:] else ''})")
    typer.echo(f"{len(found.changes)} figures in both: {'; '.join(told)}")
    for each in agreements(found.changes):
        typer.echo(each.in_words())


def _row(change: FigureChange) -> tuple[str, ...]:
    from hemogat.benchmarks.quantities import quantity

    before, after = change.before, change.after
    moved = "" if change.ratio is None else f"{100 * (change.ratio - 1):+.1f} %"
    bounds = ""
    if change.ratio_low is not None and change.ratio_high is not None:
        low, high = 100 * (change.ratio_low - 1), 100 * (change.ratio_high - 1)
        bounds = f"{low:+.1f} to {high:+.1f} %"
    return (
        before.name,
        quantity(before.value, before.unit),
        quantity(after.value, after.unit),
        moved,
        bounds,
        change.verdict,
    )
