"""One measured figure, in the form that every benchmark report shares.

Reports of different kinds (latency, cost, graph layers, serving) all list their figures this way,
so that two reports can be compared and drawn without knowing what kind they are.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hemogat.config import Settings

Unit = Literal[
    "ms", "s", "1/s", "MiB", "J", "%", "points", "count", "ratio",
    "MAC", "B", "MAC/B", "MAC/s", "B/s",
]  # fmt: skip
Better = Literal["lower", "higher", "neither"]

# Metrics that pictures and tables look for; a report may have others.
#   p50, p90, p95, p99, mean (ms)      latency; axis ``component`` is a stage of
#                                      hemogat.benchmarks.latency, "end_to_end" among them
#   throughput (1/s)                   with a latency on the same axes: one against the other
#   accuracy (%)                       with macs on the same axes: cost against accuracy
#   cores_used (ratio)                 CPU time over time: the threads that really worked
#   parameters (count), macs (MAC), size (MiB), peak_memory (MiB), start_up (s)
#   speed_up (ratio)                   a target's time under that of target ``over``, an axis;
#                                      the median of ratios taken round by round
#   relative (ratio)                   a target's time over the reference workload's of the same
#                                      round: what two runs on one machine have in common
#   intensity (MAC/B), rate (MAC/s)    of a component: a point of the roofline;
#   gemm_rate, gemm_int8_rate (MAC/s), copy_rate (B/s) of target "machine": the roofline itself
P50 = "p50"
SPEED_UP = "speed_up"
RELATIVE = "relative"
MACHINE = "machine"  # the target of its own rates
OVER = "over"  # the axis of a ratio that names what it is to
END_TO_END = "end_to_end"

_COUNTED: frozenset[Unit] = frozenset({"count", "MAC", "B", "MAC/B"})
_COUNTED_METRICS = frozenset({"size"})


class Figure(Settings):
    """One number of a report.

    ``target`` is what was measured ("onnx-int8", "torch eager"), ``metric`` what of it ("p50",
    "throughput", "parameters"), ``axes`` the conditions that vary within the report ("component",
    "batch", "windows", "tokens", "bank_rows", "gnn", "threads", "concurrency"). ``low`` and
    ``high`` bound the 95 % interval; both None where the number is exact or was taken once.
    """

    target: str
    metric: str
    unit: Unit
    value: float
    low: float | None = None
    high: float | None = None
    better: Better = "lower"
    axes: dict[str, str | int] = Field(default_factory=dict)

    @property
    def key(self) -> tuple[str, ...]:
        """What identifies the figure among those of its report, and in another run's."""
        axes = (f"{name}={value}" for name, value in sorted(self.axes.items()))
        return (self.target, self.metric, self.unit, *axes)

    @property
    def exact(self) -> bool:
        """Whether another run must give the same number: it was counted, not measured."""
        return self.unit in _COUNTED or self.metric in _COUNTED_METRICS

    @property
    def name(self) -> str:
        """The figure in words, without its value."""
        axes = (f"{name} {value}" for name, value in self.axes.items())
        return ", ".join((f"{self.target} {self.metric}", *axes))
