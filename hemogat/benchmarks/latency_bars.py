"""Latency by stage, as stacked bars."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from hemogat.benchmarks.figures import END_TO_END, P50, Figure

_WIDTH_IN, _BAR_IN, _REST_IN = 7.5, 0.26, 1.1
_MOST_BARS = 40
# By how light they are, too, so that they can be told apart in black and white (Okabe and Ito).
_COLOURS = ("#56B4E9", "#F0E442", "#0072B2", "#E69F00", "#009E73", "#CC79A7")


def draw_latency_bars(figures: Sequence[Figure]) -> Drawing | None:
    """Draw a bar for each whole; without any, one for each target and axes of a component.

    Without a whole and with several components there is none: those have a panel each. Nor with
    several banks: how the time grows is a line.

    A stage belongs to a whole of the same target if it has no axis of another value: the fusion
    step has no tokens, and belongs to the wholes of any.
    """
    medians = [f for f in figures if f.metric == P50 and "component" in f.axes]
    wholes = [f for f in medians if f.axes["component"] == END_TO_END]
    bars = [(whole, [f for f in medians if _is_part(f, whole)]) for whole in wholes]
    if not bars and _all_alike(medians, "component") and _all_alike(medians, "bank_rows"):
        bars = [(figure, [figure]) for figure in medians]
    if not bars or len(bars) > _MOST_BARS:
        return None
    drawing = Drawing(figsize=(_WIDTH_IN, _REST_IN + _BAR_IN * len(bars)), layout="constrained")
    axis = drawing.add_subplot()
    components = list(dict.fromkeys(str(p.axes["component"]) for _, parts in bars for p in parts))
    for y, (_, parts) in enumerate(bars):
        left = 0.0
        for part in parts:
            colour = _COLOURS[components.index(str(part.axes["component"])) % len(_COLOURS)]
            axis.barh(y, part.value, 0.7, left, color=colour, edgecolor="white")
            left += part.value
    for number, name in enumerate(components):  # bars without length, for the legend
        colour = _COLOURS[number % len(_COLOURS)]
        axis.barh(0, 0, color=colour, label=name.replace("_", " "))
    _mark(axis, [whole for whole, _ in bars], "end to end" if wholes else "95 % interval")
    axis.set_yticks(range(len(bars)), _names([whole for whole, _ in bars]), fontsize=8)
    axis.set_ylim(len(bars) - 0.4, -0.6)  # the first on top
    axis.set_xlabel("ms")
    axis.set_xlim(left=0)
    axis.grid(visible=True, axis="x", color="0.9")
    axis.set_axisbelow(True)
    columns = min(4, len(components) + 1)
    drawing.legend(loc="outside upper center", ncols=columns, fontsize=8, frameon=False)
    return drawing


def bars_title(figures: Sequence[Figure]) -> str:
    """Return what the bars show: stages of wholes, or one component alone."""
    medians = [f for f in figures if f.metric == P50 and "component" in f.axes]
    components = list(dict.fromkeys(str(f.axes["component"]) for f in medians))
    if END_TO_END in components and len(components) > 1:
        return "Latency by stage: medians, with the 95 % interval of the whole"
    name = components[0].replace("_", " ") if components else ""
    return f"Latency of one component, {name}: medians, with their 95 % intervals"


def _all_alike(figures: Sequence[Figure], axis: str) -> bool:
    return len({figure.axes.get(axis) for figure in figures}) == 1


def _mark(axis: Axes, wholes: Sequence[Figure], label: str) -> None:
    """Mark medians with their intervals, one below the other."""
    below = [f.value - (f.value if f.low is None else f.low) for f in wholes]
    above = [(f.value if f.high is None else f.high) - f.value for f in wholes]
    axis.errorbar(
        [figure.value for figure in wholes],
        range(len(wholes)),
        xerr=[below, above],
        fmt="|",
        color="black",
        capsize=3,
        label=label,
    )


def _is_part(figure: Figure, whole: Figure) -> bool:
    if figure.target != whole.target or figure.axes["component"] == END_TO_END:
        return False
    return all(
        whole.axes.get(name) == value for name, value in figure.axes.items() if name != "component"
    )


def _names(wholes: Sequence[Figure]) -> list[str]:
    """Name bars by target and by the axes in which they differ."""
    axes = list(dict.fromkeys(name for figure in wholes for name in figure.axes))
    differing = [name for name in axes if len({f.axes.get(name) for f in wholes}) > 1]
    return [
        ", ".join(
            (
                figure.target,
                *(_axis(name, figure.axes[name]) for name in differing if name in figure.axes),
            )
        )
        for figure in wholes
    ]


def _axis(name: str, value: str | int) -> str:
    return f"{value}" if isinstance(value, str) else f"{name.replace('_', ' ')} {value}"
