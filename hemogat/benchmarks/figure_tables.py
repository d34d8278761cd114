"""Tables of figures: one row for each target and its axes, one column for each metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hemogat.benchmarks.figures import OVER, Figure
from hemogat.benchmarks.quantities import column_scale, plus_minus

_Row = dict[str, Figure]
# Their intervals would make tables too wide to print; the JSON has them.
_BOUNDS_LEFT_OUT = ("p90", "p95", "p99")
_COMPONENT = "component"


@dataclass(frozen=True)
class FigureTable:
    """``caption``: what all rows have in common.

    ``names``: titles of the first columns, which hold text; ``numbers``: of the others.
    """

    caption: str
    names: tuple[str, ...]
    numbers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def figure_tables(figures: Sequence[Figure]) -> list[FigureTable]:
    """Return all figures in as few tables as have no column that few rows fill.

    Rows stand in one table if they have a metric in common, and are of one component. What is the
    same in all rows of a table stands in its caption.
    """
    rows: dict[object, _Row] = {}
    for figure in figures:
        # What a ratio is over is no condition of the row: it stands beside the times.
        axes = [axis for axis in sorted(figure.axes.items()) if axis[0] != OVER]
        rows.setdefault((figure.target, *axes), {})[_column(figure)] = figure
    groups: list[tuple[set[str], list[_Row]]] = []
    for row in rows.values():
        metrics, together = set(row), [row]
        for group in [group for group in groups if group[0] & metrics]:
            groups.remove(group)
            metrics, together = group[0] | metrics, [*group[1], *together]
        groups.append((metrics, together))
    return [_table(part) for _, together in groups for part in _by_component(together)]


def _column(figure: Figure) -> str:
    """Name a figure's column: a target may have ratios over several others."""
    over = f" over {figure.axes[OVER]}" if OVER in figure.axes else ""
    return figure.metric.replace("_", " ") + over


def _by_component(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    parts: dict[object, list[_Row]] = {}
    for row in rows:
        parts.setdefault(_first(row).axes.get(_COMPONENT), []).append(row)
    yield from parts.values()


def _first(row: _Row) -> Figure:
    return next(iter(row.values()))


def _table(rows: Sequence[_Row]) -> FigureTable:
    first = [_first(row) for row in rows]
    axes = [n for n in dict.fromkeys(n for f in first for n in f.axes) if n != OVER]
    common = [name for name in axes if len({figure.axes.get(name) for figure in first}) == 1]
    varying = [name for name in axes if name not in common]
    common.sort(key=lambda name: name != _COMPONENT)  # that first
    told = [_told(name, first[0].axes[name]) for name in common]
    titles, columns = [], []
    for name in dict.fromkeys(name for row in rows for name in row):
        found = [row.get(name) for row in rows]
        unit = next(figure.unit for figure in found if figure is not None)
        divisor, scaled_unit = column_scale([f.value for f in found if f is not None], unit)
        titles.append(f"{name} {scaled_unit}".strip())
        columns.append(["" if f is None else _cell(f, divisor) for f in found])
    return FigureTable(
        caption="; ".join(told),
        names=("target", *(name.replace("_", " ") for name in varying)),
        numbers=tuple(titles),
        rows=tuple(
            (figure.target, *(str(figure.axes.get(name, "")) for name in varying), *cells)
            for figure, *cells in zip(first, *columns, strict=True)
        ),
    )


def _told(name: str, value: str | int) -> str:
    words = str(value).replace("_", " ")
    return words if name in (_COMPONENT, "load") else f"{name.replace('_', ' ')} {words}"


def _cell(figure: Figure, divisor: float) -> str:
    low, high = figure.low, figure.high
    if low is None or high is None or figure.metric in _BOUNDS_LEFT_OUT:
        return plus_minus(figure.value / divisor, None, None)
    return plus_minus(figure.value / divisor, low / divisor, high / divisor)
