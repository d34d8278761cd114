"""Tables of targets side by side, made from a report's figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hemogat.benchmarks.figures import OVER, P50, RELATIVE, SPEED_UP, Figure
from hemogat.benchmarks.file_names import report_path
from hemogat.benchmarks.latency_report import markdown_row
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.statistics import PERCENTILES
from hemogat.files import write_atomic

_ALWAYS = ("component",)  # shown even where all rows have the same
_AXES = ("gnn", "component", "batch", "windows", "tokens", "bank_rows", "threads")
_PROCESS = {"start_up": "start-up s", "peak_memory": "peak memory MiB", "size": "size MiB"}
_Row = dict[str, Figure]


class Table(NamedTuple):
    """``left`` columns are names, ``right`` ones are numbers."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> list[str]:
        """Return the table's lines in Markdown."""
        rule = ["---"] * len(self.left) + ["---:"] * len(self.right)
        return [markdown_row((*self.left, *self.right)), markdown_row(rule), *self._lines()]

    def _lines(self) -> Iterator[str]:
        return (markdown_row(row) for row in self.rows)


def latency_table(figures: Sequence[Figure]) -> Table:
    """Return one row for each target and case: median with interval, tail, speed-up."""
    rows = _rows(f for f in figures if "component" in f.axes)
    axes = _shown([row[P50].axes for row in rows])
    metrics = {f"p{q}": f"p{q} ms" for q in PERCENTILES if f"p{q}" != P50}
    bases = dict.fromkeys(str(f.axes[OVER]) for f in figures if f.metric == SPEED_UP)
    extras = {
        _ratio_to(base): f"speed-up over {base}" if len(bases) > 1 else "speed-up" for base in bases
    }
    extras |= {RELATIVE: "x reference", "energy": "energy J"}
    metrics |= {name: title for name, title in extras.items() if any(name in row for row in rows)}
    return Table(
        ("target", *axes),
        ("p50 ms", "95 % interval", *metrics.values()),
        tuple(
            (
                row[P50].target,
                *(str(row[P50].axes.get(axis, "")) for axis in axes),
                f"{row[P50].value:.2f}",
                interval(row[P50]),
                *(f"{row[name].value:.2f}" if name in row else "" for name in metrics),
            )
            for row in rows
        ),
    )


def process_table(figures: Sequence[Figure]) -> Table:
    """Return one row for each target: what its process took to start and to hold."""
    rows = _rows(f for f in figures if f.metric in _PROCESS)
    axes = [axis for axis in _shown([_first(row).axes for row in rows]) if axis != "component"]
    return Table(
        ("target", *axes),
        tuple(_PROCESS.values()),
        tuple(
            (
                _first(row).target,
                *(str(_first(row).axes.get(axis, "")) for axis in axes),
                *(f"{row[name].value:.1f}" if name in row else "" for name in _PROCESS),
            )
            for row in rows
        ),
    )


def report_markdown(report: BenchReport, tables: Iterable[Table]) -> str:
    """Return a report as Markdown: what it depends on, and its tables."""
    lines = [f"# {report.title}", "", *(f"- {condition}" for condition in report.conditions())]
    for table in tables:
        lines += ["", *table.markdown()]
    return "\n".join([*lines, ""])


def write_tables(
    report: BenchReport, tables: Iterable[Table], folder: Path, conditions: Sequence[str]
) -> Path:
    """Write the report as JSON and Markdown, its conditions in the file name; return the JSON."""
    path = report_path(folder, report.environment, report.kind, *conditions)
    write_atomic(path, report.to_json())
    write_atomic(path.with_suffix(".md"), report_markdown(report, tables))
    return path


def interval(figure: Figure) -> str:
    """Return a figure's interval; nothing where it has none."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{figure.low:.2f} to {figure.high:.2f}"


def _rows(figures: Iterable[Figure]) -> list[_Row]:
    """Gather the figures of one target and its axes, by metric; ratios stand with the times."""
    rows: dict[object, _Row] = {}
    for figure in figures:
        axes = {name: value for name, value in figure.axes.items() if name != OVER}
        key = figure.target, tuple(sorted(axes.items()))
        over = figure.axes.get(OVER)
        rows.setdefault(key, {})[figure.metric if over is None else _ratio_to(over)] = figure
    return list(rows.values())


def _ratio_to(base: object) -> str:
    return f"{SPEED_UP} {base}"


def _shown(axes: Sequence[dict[str, str | int]]) -> list[str]:
    """Return the axes in which rows differ."""
    return [
        name
        for name in _AXES
        if len({of_row[name] for of_row in axes if name in of_row}) > (name not in _ALWAYS)
    ]


def _first(row: _Row) -> Figure:
    return next(iter(row.values()))
