"""How well two runs of the same suites agree, figure by figure.

make bench BENCH_OUT=build/first
make bench BENCH_OUT=build/second
python benchmarks/repeatability.py build/first build/second --out FILE.json

Of each suite and of all: how many medians (p50) and ratios (speed_up, relative) agree within their
intervals, and how many medians have an interval within ±5 % in each run by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hemogat.benchmarks.agreement import Agreement, agreements
from hemogat.benchmarks.bootstrap import Interval
from hemogat.benchmarks.environment import Environment
from hemogat.benchmarks.figures import P50, Figure
from hemogat.benchmarks.report import read_report
from hemogat.benchmarks.report_comparison import FigureChange, compare
from hemogat.benchmarks.rounds import HALF_WIDTH
from hemogat.benchmarks.suites import STEP_FILE
from hemogat.config import Settings
from hemogat.errors import InputError
from hemogat.files import write_atomic


class NarrowMedians(Settings):
    """Of one run: how many medians have an interval, and how many of them one within ±5 %."""

    with_interval: int
    narrow: int

    def in_words(self) -> str:
        """Return it as a share."""
        share = f" ({100 * self.narrow / self.with_interval:.0f} %)" if self.with_interval else ""
        return f"{self.narrow} of {self.with_interval}{share}"


class RepeatedReport(Settings):
    """One report of both runs; ``other_cpu_share``: see the reports' schema."""

    report: str
    created_utc: tuple[str, str]
    other_cpu_share: tuple[float | None, float | None]
    agreements: tuple[Agreement, ...]


class RepeatedSuite(Settings):
    """All reports of one suite, or of all; ``medians``: of the first and the second run."""

    suite: str
    agreements: tuple[Agreement, ...]
    medians: tuple[NarrowMedians, NarrowMedians]

    def in_words(self) -> str:
        """Return it, a line for each metric and one for the medians' intervals."""
        first, second = (medians.in_words() for medians in self.medians)
        narrow = f"p50 intervals within ±{100 * HALF_WIDTH:g} %: first run {first}, second {second}"
        lines = (*(each.in_words() for each in self.agreements), narrow)
        return "\n".join((f"{self.suite}:", *(f"  {line}" for line in lines)))


class Repeatability(Settings):
    """``overall``: over all reports, by metric; ``suites``: the same of each suite, then of all."""

    command: str = "python benchmarks/repeatability.py FIRST SECOND --out FILE"
    environment: Environment
    suites: tuple[RepeatedSuite, ...] = ()
    overall: tuple[Agreement, ...]
    reports: tuple[RepeatedReport, ...]


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare two folders and write the result."""
    parser = argparse.ArgumentParser(prog="python benchmarks/repeatability.py")
    parser.add_argument("first", type=Path, help="folder of suites")
    parser.add_argument("second", type=Path, help="folder of the same suites, run again")
    parser.add_argument("--out", type=Path, help="file to write the result to, as JSON")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args(arguments)
    try:
        found = repeatability(given.first, given.second)
    except InputError as error:
        parser.exit(1, f"error: {error}\n")
    text = found.model_dump_json(indent=1) + "\n"
    if given.out is not None:
        write_atomic(given.out, text)
    if given.json:
        print(text, end="")
        return
    for suite in found.suites:
        print(suite.in_words())


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
    changes = [(place, compare(before, after).changes) for place, before, after in pairs]
    every = [change for _, found in changes for change in found]
    names = list(dict.fromkeys(place.parts[0] for place in places))
    suites = [
        _suite(name, [c for p, found in changes if p.parts[0] == name for c in found])
        for name in names
    ]
    return Repeatability(
        environment=pairs[-1][2].environment,
        suites=(*suites, _suite("all", every)),
        overall=agreements(every),
        reports=tuple(
            RepeatedReport(
                report=str(place.parent),
                created_utc=(before.created_utc, after.created_utc),
                other_cpu_share=(before.other_cpu_share, after.other_cpu_share),
                agreements=agreements(found),
            )
            for (place, before, after), (_, found) in zip(pairs, changes, strict=True)
        ),
    )


def _suite(name: str, changes: Sequence[FigureChange]) -> RepeatedSuite:
    medians = _narrow([c.before for c in changes]), _narrow([c.after for c in changes])
    return RepeatedSuite(suite=name, agreements=agreements(changes), medians=medians)


def _narrow(figures: Sequence[Figure]) -> NarrowMedians:
    widths = [
        Interval(figure.value, figure.low, figure.high).half_width
        for figure in figures
        if figure.metric == P50 and figure.low is not None
    ]
    return NarrowMedians(with_interval=len(widths), narrow=sum(w <= HALF_WIDTH for w in widths))


if __name__ == "__main__":
    main()
