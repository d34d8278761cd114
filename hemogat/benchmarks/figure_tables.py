"""Tables of figures: one row for each target and its axes, one column for each metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.quantities import column_scale, interval, number

_Row = dict[str, Figure]
# Their intervals would make tables too wide to print; the JSON has them.
_BOUNDS_LEFT_OUT = ("p90", "p95", "p99")


@dataclass(frozen=True)
class FigureTable:
    """``names``: titles of the first columns, which hold text; ``numbers``: of the others."""

    names: tuple[str, ...]
    numbers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def figure_tables(figures: Sequence[Figure]) -> list[FigureTable]:
    """Return all figures in as few tables as have no column that few rows fill.

    Rows stand in one table if they have a metric in common.
    """
    rows: dict[object, _Row] = {}
    for figure in figures:
        rows.setdefault((figure.target, *sorted(figure.axes.items())), {})[figure.metric] = figure
    groups: list[tuple[set[str], list[_Row]]] = []
    for row in rows.values():
        metrics, together = set(row), [row]
        for group in [group for group in groups if group[0] & metrics]:
            groups.remove(group)
            metrics, together = group[0] | metrics, [*group[1], *together]
        groups.append((metrics, together))
    return [_table(together) for _, together in groups]


def _table(rows: Sequence[_Row]) -> FigureTable:
    first = [next(iter(row.values())) for row in rows]
    axes = list(dict.fromkeys(name for figure in first for name in figure.axes))
    metrics = list(dict.fromkeys(metric for row in rows for metric in row))
    titles, columns = [], []
    for metric in metrics:
        found = [row.get(metric) for row in rows]
        unit = next(figure.unit for figure in found if figure is not None)
        divisor, scaled_unit = column_scale([f.value for f in found if f is not None], unit)
        titles.append(f"{metric.replace('_', ' ')} {scaled_unit}".strip())
        columns.append(["" if f is None else _cell(f, divisor) for f in found])
    return FigureTable(
        names=("target", *(name.replace("_", " ") for name in axes)),
        numbers=tuple(titles),
        rows=tuple(
            (figure.target, *(str(figure.axes.get(name, "")) for name in axes), *cells)
            for figure, *cells in zip(first, *columns, strict=True)
        ),
    )


def _cell(figure: Figure, divisor: float) -> str:
    low, high = figure.low, figure.high
    if figure.metric in _BOUNDS_LEFT_OUT:
        low = high = None
    scaled = figure.model_copy(
        update={
            "low": None if low is None else low / divisor,
            "high": None if high is None else high / divisor,
        }
    )
    bounds = interval(scaled)
    return number(figure.value / divisor) + (f" ({bounds})" if bounds else "")
