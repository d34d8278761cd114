"""The picture of a load report: latency against throughput."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from hemogat.benchmarks.picture_axes import label_points, log_axis, show_range
from hemogat.benchmarks.serving_load_report import LoadKind, LoadLevel, LoadReport

_SIZE_IN = (7.5, 4.5)
_DOTS_PER_INCH = 120
# Told apart by line and marker where colours are not.
_STYLES: dict[LoadKind, str] = {"closed loop": "o-", "open loop": "s:"}


def draw_load(report: LoadReport, path: Path) -> None:
    """Draw p50 and p95 of the answered requests over what was answered, as a PNG."""
    drawn = [level for level in report.levels if level.kind in _STYLES and level.latency]
    figure = Figure(figsize=_SIZE_IN, layout="constrained")
    axis = figure.add_subplot()
    for kind, style in _STYLES.items():
        levels = [level for level in drawn if level.kind == kind]
        for quantile, colour in (("p50", "C0"), ("p95", "C1")):
            axis.plot(
                [level.answered_per_s for level in levels],
                [_latency_ms(level, quantile) for level in levels],
                style,
                color=colour,
                label=f"{kind}, {quantile}",
            )
    in_process = max(report.comparison.in_process_per_s)
    axis.axvline(in_process, color="0.6", linewidth=1, label="in process, batched")
    axis.set(
        xlabel="utterances answered per second",
        ylabel="latency of the answered, ms",
        title=f"{report.bundle}, {report.target}, {report.environment.cores} cores",
    )
    log_axis(axis, "y")
    show_range(axis, [in_process, *(level.answered_per_s for level in drawn)])
    axis.grid(visible=True, which="major", color="0.9")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    label_points(figure, axis, [_labelled(level) for level in drawn])
    figure.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Software": None})


def _labelled(level: LoadLevel) -> tuple[float, float, str]:
    return level.answered_per_s, _latency_ms(level, "p95"), level.name


def _latency_ms(level: LoadLevel, quantile: str) -> float:
    assert level.latency is not None
    return level.latency.p50_ms if quantile == "p50" else level.latency.p95_ms
