"""How well two runs of the same suites agree, figure by figure.

make bench BENCH_OUT=build/first
make bench BENCH_OUT=build/second
python benchmarks/repeatability.py build/first build/second --out FILE.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hemogat.benchmarks.agreement import Agreement, agreements
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
        print(each.in_words())


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
                agreements=agreements(changes),
            )
        )
    return Repeatability(
        environment=pairs[-1][2].environment, overall=agreements(every), reports=tuple(reports)
    )


if __name__ == "__main__":
    main()
