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
    for number, (intensity, rate) in enumerate(points):
        marker, colour = _MARKERS[number % len(_MARKERS)], f"C{number % 10}"
        axes = (str(value) for value in rate.axes.values())
        label = ", ".join((rate.target, *axes))
        axis.plot(intensity.value, rate.value / 1e9, marker, color=colour, label=label)
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="arithmetic intensity, MAC per byte moved",
        ylabel="GMAC per second",
    )
    axis.grid(visible=True, which="major", color="0.9")
    axis.set_axisbelow(True)
    axis.legend(fontsize=8)
    return drawing
