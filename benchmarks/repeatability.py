"""How well two runs of the same suites agree, figure by figure.

make bench BENCH_OUT=build/first
make bench BENCH_OUT=build/second
python benchmarks/repeatability.py build/first build/second --out FILE.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hemogat.benchmarks.agreement import METRICS, Agreement, agreement
from hemogat.benchmarks.environment import Environment
from hemogat.benchmarks.report import read_report
from hemogat.benchmarks.report_comparison import FigureChange, compare
from hemogat.benchmarks.suites import STEP_FILE
from hemogat.config import Settings
from hemogat.errors import InputError
from hemogat.files import write_atomic


class RepeatedReport(Settings):
    """One report of both runs; ``other_cpu_share``: see the reports' schema."""

    report: str
    created_utc: tuple[str, str]
    other_cpu_share: tuple[float | None, float | None]
    agreements: tuple[Agreement, ...]


class Repeatability(Settings):
    """``overall``: over all reports, by metric."""

    command: str = "python benchmarks/repeatability.py FIRST SECOND --out FILE"
    environment: Environment
    overall: tuple[Agreement, ...]
    reports: tuple[RepeatedReport, ...]


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare two folders and write the result."""
    parser = argparse.ArgumentParser(prog="python benchmarks/repeatability.py")
    parser.add_argument("first", type=Path, help="folder of suites")
    parser.add_argument("second", type=Path, help="folder of the same suites, run again")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    given = parser.parse_args(arguments)
    found = repeatability(given.first, given.second)
    write_atomic(given.out, found.model_dump_json(indent=1) + "\n")
    for each in found.overall:
        print(
            f"{each.metric}: {each.agree} of {each.figures} agree within their intervals, "
            f"{each.narrow} intervals are narrow, {each.close} differ by at most 5 %; half of them "
            f"by at most {each.median_difference_percent} %, all by at most "
            f"{each.largest_difference_percent} %"
        )


def repeatability(first: Path, second: Path) -> Repeatability:
    """Compare every report that both folders have at the same place.

    Raises:
        InputError: they have none in common.
    """
    places = sorted(
        path.relative_to(first)
        for path in first.rglob("*.json")
        if path.name != STEP_FILE and (second / path.relative_to(first)).is_file()
    )
    if not places:
        raise InputError(f"{first}, {second}: expected reports at the same places, found none")
    pairs = [(place, read_report(first / place), read_report(second / place)) for place in places]
    every: list[FigureChange] = []
    reports = []
    for place, before, after in pairs:
        changes = compare(before, after).changes
        every += changes
        reports.append(
            RepeatedReport(
                report=str(place.parent),
                created_utc=(before.created_utc, after.created_utc),
                other_cpu_share=(before.other_cpu_share, after.other_cpu_share),
                agreements=_agreements(changes),
            )
        )
    return Repeatability(
        environment=pairs[-1][2].environment, overall=_agreements(every), reports=tuple(reports)
    )


def _agreements(changes: Sequence[FigureChange]) -> tuple[Agreement, ...]:
    found = (agreement(changes, metric) for metric in METRICS)
    return tuple(each for each in found if each is not None)


if __name__ == "__main__":
    main()
