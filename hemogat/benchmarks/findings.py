"""What a measurement of several targets found, and what is doubtful about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hemogat.benchmarks.bootstrap import Interval
from hemogat.benchmarks.figures import P50, Figure
from hemogat.benchmarks.rounds import HALF_WIDTH


@dataclass
class Findings:
    """Figures, and what a reader has to know beside them.

    ``rounds``: how many each case took. ``unsettled``: targets and components whose times had not
    settled when the warm-up ended.
    """

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    def leave_out(self, target: str, reason: str) -> None:
        """Note what is not measured, once."""
        note = f"not measured: {target}: {reason}"
        if note not in self.notes:
            self.notes.append(note)

    def add(self, other: Findings) -> None:
        """Take over what another measurement found."""
        self.figures += other.figures
        self.notes += [note for note in other.notes if note not in self.notes]
        self.rounds += other.rounds
        self.unsettled += other.unsettled

    def told(self) -> list[str]:
        """Return the notes, and what is doubtful about the times, a line each."""
        lines = list(self.notes)
        if self.rounds:
            lines.append(f"rounds taken, case by case: {', '.join(map(str, self.rounds))}")
            if not any(figure.metric == "energy" for figure in self.figures):
                lines.append("energy: not measured, as no counter can be read here")
        lines += wide_medians(self.figures)
        if self.unsettled:
            settled_not = "; ".join(self.unsettled)
            lines.append(f"warning: times had not settled when the warm-up ended: {settled_not}")
        return lines


def wide_medians(figures: Sequence[Figure], half_width: float = HALF_WIDTH) -> list[str]:
    """Return a line that names the medians whose intervals are wider than ±``half_width``."""
    medians = [figure for figure in figures if figure.metric == P50]
    found = [(Interval(f.value, f.low, f.high).half_width, f) for f in medians]
    wide = sorted(((w, f) for w, f in found if w > half_width), key=lambda pair: -pair[0])
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
