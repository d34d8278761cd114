"""Intervals of work that takes the same time on any machine: how much of them the method makes.

    python benchmarks/steady_work.py --out benchmarks/results

Targets whose run waits, busily, for a given time are measured as the engines of ``bench gnn`` are:
as many at once, in fresh processes, in turns, with the same settings as the suite ``paper-table5``.
Neighbours make a processor slower, but not this work, unless they take the core away altogether.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from hemogat.benchmarks.bootstrap import Interval
from hemogat.benchmarks.entries import Entry
from hemogat.benchmarks.epochs import SideBySideSettings
from hemogat.benchmarks.figures import P50
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.rounds import RoundSettings
from hemogat.benchmarks.side_by_side import measure_side_by_side
from hemogat.benchmarks.side_by_side_tables import latency_table, write_tables
from hemogat.benchmarks.targets import Case, PeerTarget, Target
from hemogat.benchmarks.worker import answer_requests
from hemogat.benchmarks.worker_protocol import Opened
from hemogat.progress import Progress

# Three groups of five, as layers and engines; about what fusion steps of the base sizes take.
TIMES_MS = tuple(factor * ms for factor in (2.0, 1.2, 1.3) for ms in (5.0, 1.9, 1.4, 2.1, 1.8))
_GROUP = 5
_CASE = Case(component="fusion")
_WORKER = "worker"


class SteadyReport(BenchReport):
    """Work of constant time; ``targets`` are named by it."""

    kind: Literal["steady-work"] = "steady-work"
    settings: RoundSettings


class SteadyRunner:
    """Waits as many milliseconds as its target's name says."""

    opened = Opened(components=("fusion",))

    def __init__(self, target: Target, threads: int | None, device: str) -> None:
        assert isinstance(target, PeerTarget)
        self._wait_ns = round(1e6 * float(target.name))

    def prepare(self, case: Case) -> Callable[[], object]:
        """Return what waits once."""
        return self._wait

    def _wait(self) -> None:
        end_ns = time.perf_counter_ns() + self._wait_ns
        while time.perf_counter_ns() < end_ns:
            pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(prog="python benchmarks/steady_work.py")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--epochs", type=int, default=5, help="at least; fresh processes in each")
    parser.add_argument("--rounds", type=int, default=30, help="at least, in all")
    parser.add_argument("--limit-s", type=float, default=240.0, help="of all epochs")
    given = parser.parse_args(arguments)
    rounds = RoundSettings(epochs=given.epochs, rounds=given.rounds, limit_s=given.limit_s)
    report = measure(rounds, TIMES_MS, Progress(visible=True))
    print(write_tables(report, [latency_table(report.figures)], given.out, ()))
    for note in report.notes:
        print(f"- {note}")


def measure(
    rounds: RoundSettings, times_ms: Sequence[float], progress: Progress | None = None
) -> SteadyReport:
    """Measure work of these times."""
    watch = RunWatch()
    entries = [_entry(number, ms) for number, ms in enumerate(times_ms)]
    found = measure_side_by_side(
        entries, SideBySideSettings(cases=(_CASE,), rounds=rounds), progress
    )
    medians = [f for f in found.figures if f.metric == P50]
    widths = sorted(Interval(f.value, f.low, f.high).half_width for f in medians)
    widest, half = widths[-1], widths[len(widths) // 2]
    return SteadyReport(
        title="Work that takes the same time on any machine",
        settings=rounds,
        notes=(
            "each run waits busily for the milliseconds that name its target",
            rounds.in_words(),
            f"intervals: half of the medians within ±{100 * half:.2f} %, all within "
            f"±{100 * widest:.2f} %",
            *found.told(),
        ),
        figures=tuple(found.figures),
        series=tuple(found.series),
        **watch.facts(),
    )


def _entry(number: int, ms: float) -> Entry:
    name = f"{ms:.2f}"
    command = (sys.executable, str(Path(__file__).absolute()), _WORKER)
    target = PeerTarget(name=name, command=command, folder=Path())
    return Entry(name, target, group=str(number // _GROUP))


if __name__ == "__main__":
    if sys.argv[1:] == [_WORKER]:
        answer_requests(SteadyRunner)
    else:
        main()
