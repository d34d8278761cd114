"""``hemogat bench compare``: what got better or worse between two reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from hemogat.cli.output import JsonOption, print_json, print_table, remark
from hemogat.errors import ConfigError

if TYPE_CHECKING:
    from hemogat.benchmarks.report_comparison import FigureChange, ReportComparison

_COLUMNS = ("before", "after", "change", "95 % interval", "verdict")
_CANNOT_JUDGE = 4  # the exit code where times of two machines stand against each other


def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE.json", help="Earlier report.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER.json", help="Later report.")],
    fail_on_regression: Annotated[
        str | None,
        typer.Option(
            metavar="P%",
            help="Exit with 1 when a figure is missing, or worse by more than that beyond noise; "
            "with 4 when the machines differ.",
            show_default=False,
        ),
    ] = None,
    allow_other_machine: Annotated[
        bool, typer.Option("--allow-other-machine", help="Judge reports of different machines too.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Show also what noise or the tolerance explains.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare two reports figure by figure.

    A difference counts where the 95 % intervals do not overlap. Figures without
    an interval count where they differ by more than P% (10 without the option),
    counted ones by more than 0.1 %. The regression gate looks at paired ratios
    where both reports have them, and at times too where the machine is the same
    and was quiet.
    """
    from hemogat.benchmarks.report import read_report
    from hemogat.benchmarks.report_comparison import TOLERATED
    from hemogat.benchmarks.report_comparison import compare as compare_reports

    tolerated = TOLERATED if fail_on_regression is None else _share(fail_on_regression)
    found = compare_reports(read_report(before), read_report(after), tolerated)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _print(found, every=every)
    if fail_on_regression is not None:
        _judge(found, allow_other_machine=allow_other_machine)


def _judge(found: ReportComparison, *, allow_other_machine: bool) -> None:
    """Exit with what the regression gate decides."""
    from hemogat.benchmarks.regression_gate import gate

    if not (found.same_machine or allow_other_machine):
        remark(
            "expected reports of one machine, found two; measure both on one, or judge them by "
            "their ratios with --allow-other-machine"
        )
        raise typer.Exit(_CANNOT_JUDGE)
    decided = gate(found)
    for line in decided.in_words(found.tolerated):
        remark(line)
    if decided.failed:
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
    from hemogat.benchmarks.report_comparison import BEYOND_NOISE, Verdict

    typer.echo(f"before  {found.before}\nafter   {found.after}\n")
    for difference in found.differences:
        typer.echo(f"- {difference}")
    if found.differences:
        typer.echo()
    shown = found.with_verdict(*BEYOND_NOISE)
    if every:
        shown += found.with_verdict("within noise", "within tolerance", "same")
    if shown:
        print_table(("figure",), _COLUMNS, map(_row, shown))
        typer.echo()
    counts = {verdict: len(found.with_verdict(verdict)) for verdict in get_args(Verdict)}
    told = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    if alone := sum(change.judged_by == "tolerance" for change in found.changes):
        told.append(f"{alone} without intervals, judged by {100 * found.tolerated:g} %")
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
    bounds = {"tolerance": "none", "count": "counted"}.get(change.judged_by, "")
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
