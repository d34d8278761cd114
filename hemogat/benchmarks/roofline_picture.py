"""The roofline: rate over arithmetic intensity, under what the machine can compute and move."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.picture_axes import MARKERS, log_axis

_SIZE_IN = (7.5, 4.4)
_ROOFS = {"gemm_rate": "fp32", "gemm_int8_rate": "int8"}
_NARROW = ("int8", "bf16", "fp16")  # whose products the fp32 roof does not bound
_APART = 1.07  # points of one intensity, side by side
_Point = tuple[Figure, Figure]  # intensity, rate


def draw_roofline(figures: Sequence[Figure]) -> Drawing | None:
    """Draw each component's rate over its intensity, and the machine's limits.

    A roof is the measured rate of matrix products, and what the measured rate of copies allows at
    each intensity. Targets of other number types are drawn where their roof was measured too.
    """
    measured = {f.metric: f.value for f in figures if f.metric in (*_ROOFS, "copy_rate")}
    points = [point for point in _points(figures) if _has_roof(point[1].target, measured)]
    if not points or not {"gemm_rate", "copy_rate"} <= measured.keys():
        return None
    drawing = Drawing(figsize=_SIZE_IN, layout="constrained")
    axis = drawing.add_subplot()
    _draw_roofs(axis, points, measured)
    targets = list(dict.fromkeys(rate.target for _, rate in points))
    for number, target in enumerate(targets):
        own = [(i.value * _APART**number, r.value / 1e9) for i, r in points if r.target == target]
        axis.plot(
            *zip(*own, strict=True),
            MARKERS[number % len(MARKERS)],
            color=f"C{number % 10}",
            markersize=5,
            label=target,
        )
    _name_components(axis, points, len(targets))
    axis.set(xlabel="arithmetic intensity, MAC per byte moved", ylabel="GMAC per second")
    log_axis(axis, "x")
    log_axis(axis, "y")
    axis.grid(visible=True, which="major", color="0.9")
    axis.set_axisbelow(True)
    drawing.legend(loc="outside right center", fontsize=8, frameon=False)
    return drawing


def _points(figures: Sequence[Figure]) -> list[_Point]:
    rates = {(f.target, *sorted(f.axes.items())): f for f in figures if f.metric == "rate"}
    return [
        (figure, rates[key])
        for figure in figures
        if figure.metric == "intensity"
        and (key := (figure.target, *sorted(figure.axes.items()))) in rates
    ]


def _has_roof(target: str, measured: dict[str, float]) -> bool:
    narrow = next((kind for kind in _NARROW if kind in target), None)
    return narrow is None or any(kind == narrow for m, kind in _ROOFS.items() if m in measured)


def _draw_roofs(axis: Axes, points: Sequence[_Point], measured: dict[str, float]) -> None:
    copy = measured["copy_rate"]
    gemms = {kind: measured[metric] for metric, kind in _ROOFS.items() if metric in measured}
    intensities = [intensity.value for intensity, _ in points]
    ridges = [gemm / copy for gemm in gemms.values()]
    left, right = min(*intensities, *ridges) / 2, max(*intensities, *ridges) * 3
    top = max(gemms.values())
    axis.plot([left, top / copy], [left * copy / 1e9, top / 1e9], color="black", label="memory")
    for (kind, gemm), style in zip(gemms.items(), ("-", "--"), strict=False):
        roof = [gemm / 1e9, gemm / 1e9]
        axis.plot([gemm / copy, right], roof, style, color="black", label=f"{kind} products")


def _name_components(axis: Axes, points: Sequence[_Point], targets: int) -> None:
    """Write each component's name below its column of points."""
    columns: dict[str, list[_Point]] = {}
    for intensity, rate in points:
        columns.setdefault(_component(rate), []).append((intensity, rate))
    for name, column in columns.items():
        x = column[0][0].value * _APART ** ((targets - 1) / 2)
        y = min(rate.value for _, rate in column) / 1e9
        axis.annotate(
            name.replace("_", "\n", 1),
            (x, y),
            (0, -9),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7,
        )
    lowest = min(rate.value for _, rate in points) / 1e9
    axis.set_ylim(bottom=lowest / 2.5)


def _component(figure: Figure) -> str:
    axes = figure.axes
    words = [str(axes[name]) for name in ("component", "gnn") if name in axes]
    words += [f"{axes['tokens']} tokens"] if "tokens" in axes else []
    return " ".join(words)
