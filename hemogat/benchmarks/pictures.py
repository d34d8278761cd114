"""Pictures of a report's figures: each is drawn where the figures that it needs are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from hemogat.benchmarks.figures import P50, Figure
from hemogat.benchmarks.latency_bars import bars_title, draw_latency_bars
from hemogat.benchmarks.latency_panels import draw_latency_panels
from hemogat.benchmarks.picture_axes import MARKERS, label_points, log_axis, show_range
from hemogat.benchmarks.quantities import column_scale
from hemogat.benchmarks.roofline_picture import draw_roofline

_SIZE_IN = (7.5, 4.2)
_SMALL_IN = (5.0, 2.8)
_Axes = dict[str, str | int]


@dataclass(frozen=True)
class Picture:
    """A drawing, and what it shows."""

    title: str
    drawing: Drawing


def draw_pictures(figures: Sequence[Figure]) -> list[Picture]:
    """Return every picture that the figures are enough for."""
    kinds: tuple[tuple[str, Callable[[Sequence[Figure]], Drawing | None]], ...] = (
        (bars_title(figures), draw_latency_bars),
        ("Latency by component: medians, with their 95 % intervals", draw_latency_panels),
        ("Latency against throughput", _latency_against_throughput),
        ("Cost against accuracy", _cost_against_accuracy),
        ("Roofline: what the machine allows, and what was reached", draw_roofline),
        ("Latency of the fusion step against the size of the bank", _bank_scaling),
    )
    drawn = ((title, draw(figures)) for title, draw in kinds)
    return [Picture(title, drawing) for title, drawing in drawn if drawing is not None]


def _latency_against_throughput(figures: Sequence[Figure]) -> Drawing | None:
    """Draw p50 and p95 of each load over what was answered; loads of one kind are a line."""
    by_axes = {(f.target, f.metric, *sorted(f.axes.items())): f for f in figures}
    lines: dict[str, list[tuple[Figure, Figure, Figure]]] = {}
    for figure in figures:
        if figure.metric != "throughput":
            continue
        axes = sorted(figure.axes.items())
        p50 = by_axes.get((figure.target, P50, *axes))
        p95 = by_axes.get((figure.target, "p95", *axes))
        kind = figure.axes.get("load", "")
        # Streams count chunks, not utterances: another scale.
        if p50 is not None and p95 is not None and kind != "streams":
            name = f"{figure.target}, {kind}" if kind else figure.target
            lines.setdefault(name, []).append((figure, p50, p95))
    if not any(len(points) > 1 for points in lines.values()):
        return None
    drawing, axis = _empty("answered per second", "latency, ms", y_log=True)
    labels = []
    for number, (name, points) in enumerate(lines.items()):
        x = [throughput.value for throughput, _, _ in points]
        for metric, colour in ((1, f"C{2 * number % 10}"), (2, f"C{(2 * number + 1) % 10}")):
            label = f"{name}, {points[0][metric].metric}"
            style = f"{MARKERS[number % len(MARKERS)]}{'-' if number % 2 == 0 else ':'}"
            axis.plot(x, [p[metric].value for p in points], style, color=colour, label=label)
        labels += [(rate.value, p95.value, _offered(rate)) for rate, _, p95 in points]
    show_range(axis, [x for x, _, _ in labels])
    drawing.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    label_points(drawing, axis, labels)
    return drawing


def _offered(figure: Figure) -> str:
    """Say what was offered: "4 at a time", "50 % of capacity", "20/s"."""
    axes = figure.axes
    if "concurrency" in axes:
        return f"{axes['concurrency']} at a time"
    return ", ".join(str(value) for name, value in axes.items() if name != "load")


def _cost_against_accuracy(figures: Sequence[Figure]) -> Drawing | None:
    """Draw the accuracy of each target over its multiply-accumulates.

    Those of the head for one node where they are known: the encoders' are the same for all.
    """
    metric = "head_macs" if any(f.metric == "head_macs" for f in figures) else "macs"
    costs = {(f.target, *sorted(f.axes.items())): f for f in figures if f.metric == metric}
    pairs = [
        (costs[key], figure)
        for figure in figures
        if figure.metric == "accuracy"
        and (key := (figure.target, *sorted(figure.axes.items()))) in costs
    ]
    if not pairs:
        return None
    divisor, unit = column_scale([cost.value for cost, _ in pairs], "MAC")
    drawing, axis = _empty(f"{metric.replace('_', ' ')}, {unit}", "accuracy, %", size_in=_SMALL_IN)
    points = []
    for number, (cost, accuracy) in enumerate(pairs):
        x, y = cost.value / divisor, accuracy.value
        marker = MARKERS[number % len(MARKERS)]
        axis.errorbar(x, y, yerr=_error(accuracy), fmt=marker, capsize=3)
        points.append((x, y, ", ".join(map(str, accuracy.axes.values())) or accuracy.target))
    axis.margins(0.25, 0.2)
    label_points(drawing, axis, points)
    return drawing


def _bank_scaling(figures: Sequence[Figure]) -> Drawing | None:
    """Draw the fusion step's median over the bank's rows, a line for each engine and layer."""
    medians = [
        figure
        for figure in figures
        if figure.metric == P50
        and figure.axes.get("component") == "fusion"
        and "bank_rows" in figure.axes
    ]
    same = [n for n in _names(medians) if len({f.axes.get(n) for f in medians}) == 1]
    lines: dict[str, list[Figure]] = {}
    for figure in medians:
        lines.setdefault(_name(figure, "bank_rows", *same), []).append(figure)
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    drawing, axis = _empty("utterances in the bank", "fusion p50, ms", y_log=True)
    for number, (name, points) in enumerate(lines.items()):
        points.sort(key=_rows)
        axis.errorbar(
            [_rows(figure) for figure in points],
            [figure.value for figure in points],
            yerr=[[_error(f)[side][0] for f in points] for side in (0, 1)],
            fmt=f"{MARKERS[number % len(MARKERS)]}-",
            capsize=3,
            label=name,
        )
    sizes = sorted({_rows(figure) for points in lines.values() for figure in points})
    axis.set_xscale("log")
    axis.set_xticks(sizes, [f"{rows:,}" for rows in sizes])
    axis.minorticks_off()
    drawing.legend(loc="outside right center", fontsize=8, frameon=False)
    return drawing


def _rows(figure: Figure) -> int:
    return int(figure.axes["bank_rows"])


def _names(figures: Sequence[Figure]) -> list[str]:
    return list(dict.fromkeys(name for figure in figures for name in figure.axes))


def _empty(
    x: str, y: str, *, y_log: bool = False, size_in: tuple[float, float] = _SIZE_IN
) -> tuple[Drawing, Axes]:
    drawing = Drawing(figsize=size_in, layout="constrained")
    axis = drawing.add_subplot()
    axis.set(xlabel=x, ylabel=y)
    if y_log:
        log_axis(axis, "y")
    axis.grid(visible=True, which="major", color="0.9")
    axis.set_axisbelow(True)
    return drawing, axis


def _name(figure: Figure, *without: str) -> str:
    axes = [
        value if isinstance(value, str) else f"{name} {value}"
        for name, value in figure.axes.items()
        if name not in without
    ]
    return ", ".join((figure.target, *axes))


def _error(figure: Figure) -> tuple[tuple[float], tuple[float]]:
    """Return how far the interval reaches down and up; nothing without one."""
    low = figure.value if figure.low is None else figure.low
    high = figure.value if figure.high is None else figure.high
    return (figure.value - low,), (high - figure.value,)
