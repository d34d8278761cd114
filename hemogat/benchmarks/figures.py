"""One measured figure, in the form that every benchmark report shares.

Reports of different kinds (latency, cost, graph layers, serving) all list their figures this way,
so that two reports can be compared and drawn without knowing what kind they are.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hemogat.config import Settings

Unit = Literal["ms", "s", "1/s", "MiB", "J", "%", "points", "count", "MAC", "B", "MAC/B", "ratio"]
Better = Literal["lower", "higher", "neither"]


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
