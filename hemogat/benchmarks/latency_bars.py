"""Latency by stage, as stacked bars."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure as Drawing

from hemogat.benchmarks.figures import END_TO_END, P50, Figure

_WIDTH_IN, _BAR_IN, _REST_IN = 7.5, 0.26, 1.1
_MOST_BARS = 40
# By how light they are, too, so that they can be told apart in black and white (Okabe and Ito).
_COLOURS = ("#56B4E9", "#F0E442", "#0072B2", "#E69F00", "#009E73", "#CC79A7")


def draw_latency_bars(figures: Sequence[Figure]) -> Drawing | None:
    """Draw a bar for each whole; without any, one for each target, component and axes.

    Without a whole and with several banks there is none: how the time grows is a line.

    A stage belongs to a whole of the same target if it has no axis of another value: the fusion
    step has no tokens, and belongs to the wholes of any.
    """
    medians = [f for f in figures if f.metric == P50 and "component" in f.axes]
    wholes = [f for f in medians if f.axes["component"] == END_TO_END]
    bars = [(whole, [f for f in medians if _is_part(f, whole)]) for whole in wholes]
    if not bars and len({figure.axes.get("bank_rows") for figure in medians}) == 1:
        bars = [(figure, [figure]) for figure in medians]
    if not bars or len(bars) > _MOST_BARS:
        return None
    names = _names([whole for whole, _ in bars])
    drawing = Drawing(figsize=(_WIDTH_IN, _REST_IN + _BAR_IN * len(bars)), layout="constrained")
    axis = drawing.add_subplot()
    components = list(dict.fromkeys(str(p.axes["component"]) for _, parts in bars for p in parts))
    colour = {name: _COLOURS[n % len(_COLOURS)] for n, name in enumerate(components)}
    for y, (whole, parts) in enumerate(bars):
        left = 0.0
        for part in parts:
            name = str(part.axes["component"])
            axis.barh(y, part.value, 0.7, left, color=colour[name], edgecolor="white")
            left += part.value
        low = whole.value if whole.low is None else whole.low
        high = whole.value if whole.high is None else whole.high
        bounds = [[whole.value - low], [high - whole.value]]
        axis.errorbar(whole.value, y, xerr=bounds, fmt="|", color="black", capsize=3)
    axis.set_yticks(range(len(bars)), names, fontsize=8)
    axis.set_ylim(len(bars) - 0.4, -0.6)  # the first on top
    axis.set_xlabel("ms")
    axis.set_xlim(left=0)
    axis.grid(visible=True, axis="x", color="0.9")
    axis.set_axisbelow(True)
    shown = [axis.barh(0, 0, color=colour[name]) for name in components]
    whole_mark = axis.errorbar([], [], xerr=[], fmt="|", color="black", capsize=3)
    labels = [name.replace("_", " ") for name in components]
    drawing.legend(
        [*shown, whole_mark],
        [*labels, "end to end" if wholes else "95 % interval"],
        loc="outside upper center",
        ncols=min(4, len(labels) + 1),
        fontsize=8,
        frameon=False,
    )
    return drawing


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
