"""What a measurement of several targets found, and what is doubtful about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from hemogat.benchmarks.bootstrap import Interval
from hemogat.benchmarks.figures import P50, Figure
from hemogat.benchmarks.measured_models import MeasuredModel
from hemogat.benchmarks.rounds import HALF_WIDTH
from hemogat.benchmarks.series import Series


@dataclass
class Findings:
    """Figures, and what a reader has to know beside them.

    ``epochs``: of each measurement, how many it took and of how many rounds. ``unsettled``: targets
    and components whose times had not settled when a warm-up ended. ``moved``: kernels of the
    reference workload whose times differ between epochs. ``series``: how times went. ``models``:
    what stands behind the targets.
    """

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    epochs: list[tuple[int, int]] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    models: list[MeasuredModel] = field(default_factory=list)

    def leave_out(self, target: str, reason: str) -> None:
        """Note what is not measured, once."""
        note = f"not measured: {target}: {reason}"
        if note not in self.notes:
            self.notes.append(note)

    def add(self, other: Findings) -> None:
        """Take over what another measurement found."""
        self.figures += other.figures
        self.notes += [note for note in other.notes if note not in self.notes]
        self.epochs += other.epochs
        self.unsettled += other.unsettled
        self.moved += other.moved
        self.series += other.series
        self.models += other.models

    def told(self) -> list[str]:
        """Return the notes, and what is doubtful about the times, a line each."""
        lines = list(self.notes)
        if self.epochs:
            taken = ", ".join(f"{epochs} of {rounds} rounds" for epochs, rounds in self.epochs)
            lines.append(f"epochs taken: {taken}")
            if not any(figure.metric == "energy" for figure in self.figures):
                lines.append("energy: not measured, as no counter can be read here")
        if self.moved:
            lines.append(
                f"warning: the machine itself was not steady: between epochs the reference "
                f"workload's time moved, {', '.join(self.moved)}; compare ratios, not times"
            )
        lines += wide_medians(self.figures)
        if self.unsettled:
            settled_not = "; ".join(self.unsettled)
            lines.append(f"warning: times had not settled when the warm-up ended: {settled_not}")
        return lines


def wide_medians(figures: Sequence[Figure], half_width: float = HALF_WIDTH) -> list[str]:
    """Return a line that names the medians whose intervals are wider than ±``half_width``.

    Those without an interval, of few rounds, are not among them.
    """
    medians = [figure for figure in figures if figure.metric == P50]
    found = [(Interval(f.value, f.low, f.high).half_width, f) for f in medians]
    known = ((w, f) for w, f in found if half_width < w < math.inf)
    wide = sorted(known, key=lambda pair: -pair[0])
    if not wide:
        return []
    told = "; ".join(f"{f.target} {_axes(f, medians)} ±{100 * width:.1f} %" for width, f in wide)
    return [
        f"warning: {len(wide)} of {len(medians)} medians have an interval wider than "
        f"±{100 * half_width:g} %: {told}"
    ]


def _axes(figure: Figure, among: Sequence[Figure]) -> str:
    """Return the component, and the axes in which ``among`` differ."""
    named = [
        name
        for name in figure.axes
        if name == "component" or len({other.axes.get(name) for other in among}) > 1
    ]
    return " ".join(
        str(value) if isinstance(value := figure.axes[name], str) else f"{name} {value}"
        for name in named
    )
