"""Targets side by side where no whole was measured: a panel for each component."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from hemogat.benchmarks.figures import END_TO_END, P50, Figure
from hemogat.benchmarks.picture_axes import log_axis

_WIDTH_IN, _BAR_IN, _PANEL_IN = 7.5, 0.24, 0.75
_FAR_APART = 30  # times: beyond it a panel's axis is logarithmic
_COLOUR = "#56B4E9"
_OF_A_CASE = ("component", "batch", "windows", "tokens")


def draw_latency_panels(figures: Sequence[Figure]) -> Drawing | None:
    """Draw each component's median of all targets, with intervals, on an axis of its own.

    Only where there are several components, several targets, and no whole.
    """
    medians = [f for f in figures if f.metric == P50 and "component" in f.axes]
    panels: dict[str, list[Figure]] = {}
    for figure in medians:
        panels.setdefault(_case(figure, medians), []).append(figure)
    targets = {figure.target for figure in medians}
    if len(panels) < 2 or len(targets) < 2:
        return None
    if any(f.axes["component"] == END_TO_END for f in medians) or not _one_each(panels):
        return None
    heights = [_PANEL_IN + _BAR_IN * len(panel) for panel in panels.values()]
    drawing = Drawing(figsize=(_WIDTH_IN, sum(heights)), layout="constrained")
    axes = drawing.subplots(len(panels), height_ratios=heights, squeeze=False)[:, 0]
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        _draw(axis, title, panel)
    return drawing


def _case(figure: Figure, among: Sequence[Figure]) -> str:
    """Name a case by its component, and by the axes in which cases of that differ."""
    component = figure.axes["component"]
    alike = [other for other in among if other.axes["component"] == component]
    words = [str(component).replace("_", " ")]
    for name in _OF_A_CASE[1:]:
        if name in figure.axes and len({other.axes.get(name) for other in alike}) > 1:
            words.append(f"{name} {figure.axes[name]}")
    return ", ".join(words)


def _one_each(panels: dict[str, list[Figure]]) -> bool:
    """Say whether targets alone tell the bars of every panel apart."""
    return all(len({f.target for f in panel}) == len(panel) for panel in panels.values())


def _draw(axis: Axes, title: str, panel: Sequence[Figure]) -> None:
    values = [figure.value for figure in panel]
    below = [f.value - (f.value if f.low is None else f.low) for f in panel]
    above = [(f.value if f.high is None else f.high) - f.value for f in panel]
    places = range(len(panel))
    axis.barh(places, values, 0.7, color=_COLOUR)
    axis.errorbar(values, places, xerr=[below, above], fmt="|", color="black", capsize=3)
    axis.set_yticks(places, [figure.target for figure in panel], fontsize=8)
    axis.set_ylim(len(panel) - 0.4, -0.6)  # the first on top
    axis.set_title(title, fontsize=9, loc="left")
    axis.set_xlabel("ms", fontsize=8)
    if max(values) > _FAR_APART * min(values):
        log_axis(axis, "x")
        axis.tick_params(axis="x", labelsize=7)  # they stand close
        axis.set_xlim(left=min(values) / 2)
    else:
        axis.set_xlim(left=0)
    axis.grid(visible=True, axis="x", color="0.9")
    axis.set_axisbelow(True)
