"""How the intervals of medians narrow as a measurement takes more epochs.

python benchmarks/interval_width.py REPORT.json --out FILE.json

From the round medians that a report of targets side by side keeps (the report's own intervals are
of all times): with each number of epochs, when the last of them began, how many medians had an
interval within ±5 %, and how wide the others were. What was known, and so took part in fewer
epochs, counts with its last interval.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hemogat.benchmarks.bootstrap import FEWEST_EPOCHS, median_interval
from hemogat.benchmarks.entries import REFERENCE
from hemogat.benchmarks.environment import Environment
from hemogat.benchmarks.report import read_report
from hemogat.benchmarks.rounds import HALF_WIDTH
from hemogat.benchmarks.series import Series
from hemogat.config import Settings
from hemogat.errors import InputError
from hemogat.files import write_atomic


class AfterEpochs(Settings):
    """``began_s``: when the last of these epochs began, from the measurement's start.

    Half-widths are shares of the median: of half of all medians, and of the widest.
    """

    epochs: int
    began_s: float
    narrow: int
    half_width: float
    widest: float


class IntervalWidths(Settings):
    """``medians``: how many the report has; ``notes``: what it says of the machine."""

    command: str = "python benchmarks/interval_width.py REPORT --out FILE"
    report: str
    created_utc: str
    environment: Environment
    notes: tuple[str, ...]
    medians: int
    after: tuple[AfterEpochs, ...]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read a report and write how its intervals narrowed."""
    parser = argparse.ArgumentParser(prog="python benchmarks/interval_width.py")
    parser.add_argument("report", type=Path, help="of targets side by side")
    parser.add_argument("--out", type=Path, help="file to write the result to, as JSON")
    given = parser.parse_args(arguments)
    try:
        found = interval_widths(given.report)
    except InputError as error:
        parser.exit(1, f"error: {error}\n")
    if given.out is not None:
        write_atomic(given.out, found.model_dump_json(indent=1) + "\n")
    print(f"epochs  begun after  within ±{100 * HALF_WIDTH:g} %  half of them  widest")
    for row in found.after:
        print(
            f"{row.epochs:6}  {row.began_s:9.0f} s  {row.narrow:4} of {found.medians:3}"
            f"  ±{100 * row.half_width:9.1f} %  ±{100 * row.widest:.1f} %"
        )


def interval_widths(path: Path) -> IntervalWidths:
    """Return how the intervals of a report's medians narrowed.

    Raises:
        InputError: it is no report, or keeps no times of as many epochs as an interval needs.
    """
    report = read_report(path)
    series = [each for each in report.series if each.target != REFERENCE]
    most = max((len(each.medians_ms) for each in series), default=0)
    if most < FEWEST_EPOCHS:
        raise InputError(
            f"{path}: expected the times of {FEWEST_EPOCHS} epochs or more, found {most}"
        )
    rows = [_after(series, epochs) for epochs in range(FEWEST_EPOCHS, most + 1)]
    return IntervalWidths(
        report=path.name,
        created_utc=report.created_utc,
        environment=report.environment,
        notes=tuple(note for note in report.notes if note.startswith("warning: the machine")),
        medians=len(series),
        after=tuple(row for row in rows if row.widest < math.inf),
    )


def _after(series: Sequence[Series], epochs: int) -> AfterEpochs:
    widths = [
        median_interval([np.array(m)[:, None] for m in each.medians_ms[:epochs]]).half_width
        for each in series
    ]
    return AfterEpochs(
        epochs=epochs,
        began_s=max(each.started_s[epochs - 1] for each in series if len(each.started_s) >= epochs),
        narrow=sum(width <= HALF_WIDTH for width in widths),
        half_width=round(float(np.median(widths)), 4),
        widest=round(max(widths), 4),
    )


if __name__ == "__main__":
    main()
