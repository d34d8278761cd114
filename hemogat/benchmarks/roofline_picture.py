"""The roofline: rate over arithmetic intensity, under what the machine can compute and move."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure as Drawing

from hemogat.benchmarks.figures import Figure

_SIZE_IN = (7.5, 4.2)
_MARKERS = "osD^vPX*"


def draw_roofline(figures: Sequence[Figure]) -> Drawing | None:
    """Draw each component's rate over its intensity, and the machine's two limits.

    The roof is the measured rate of matrix products, and what the measured rate of copies allows
    at each intensity.
    """
    roofs = {f.metric: f.value for f in figures if f.metric in ("gemm_rate", "copy_rate")}
    rates = {(f.target, *sorted(f.axes.items())): f for f in figures if f.metric == "rate"}
    points = [
        (figure, rates[key])
        for figure in figures
        if figure.metric == "intensity"
        and (key := (figure.target, *sorted(figure.axes.items()))) in rates
    ]
    if not points or len(roofs) < 2:
        return None
    gemm, copy = roofs["gemm_rate"], roofs["copy_rate"]
    ridge = gemm / copy
    intensities = [intensity.value for intensity, _ in points]
    left, right = min(*intensities, ridge) / 3, max(*intensities, ridge) * 3
    drawing = Drawing(figsize=_SIZE_IN, layout="constrained")
    axis = drawing.add_subplot()
    axis.plot(
        [left, ridge, right],
        [left * copy / 1e9, gemm / 1e9, gemm / 1e9],
        color="black",
        label="roof",
    )
    targets = list(dict.fromkeys(rate.target for _, rate in points))
    components = list(dict.fromkeys(_component(rate) for _, rate in points))
    for intensity, rate in points:
        marker = _MARKERS[components.index(_component(rate)) % len(_MARKERS)]
        colour = f"C{targets.index(rate.target) % 10}"
        axis.plot(intensity.value, rate.value / 1e9, marker, color=colour)
    for number, name in enumerate(targets):  # colours tell targets, markers components
        axis.plot([], [], "s", color=f"C{number % 10}", label=name)
    for number, name in enumerate(components):
        axis.plot([], [], _MARKERS[number % len(_MARKERS)], color="0.4", label=name)
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="arithmetic intensity, MAC per byte moved",
        ylabel="GMAC per second",
    )
    axis.grid(visible=True, which="major", color="0.9")
    axis.set_axisbelow(True)
    drawing.legend(loc="outside right center", fontsize=8, frameon=False)
    return drawing


def _component(figure: Figure) -> str:
    axes = figure.axes
    return " ".join(str(axes[name]) for name in ("component", "gnn") if name in axes)
