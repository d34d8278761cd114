"""What a measurement of several targets found, and what is doubtful about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hemogat.benchmarks.figures import P50, Figure

WIDE_HALF_WIDTH = 0.05  # of a median's interval: beyond it the report warns


@dataclass
class Findings:
    """Figures, and what a reader has to know beside them.

    ``unsettled``: targets and components whose times had not settled when the warm-up ended.
    """

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    def leave_out(self, target: str, reason: str) -> None:
        """Note what is not measured, once."""
        note = f"not measured: {target}: {reason}"
        if note not in self.notes:
            self.notes.append(note)

    def warnings(self) -> list[str]:
        """Return what is doubtful about the times, a line each."""
        medians = [figure for figure in self.figures if figure.metric == P50]
        wide = [figure for figure in medians if half_width(figure) > WIDE_HALF_WIDTH]
        warnings = []
        if wide:
            worst = max(wide, key=half_width)
            warnings.append(
                f"warning: {len(wide)} of {len(medians)} medians have an interval wider than "
                f"±{100 * WIDE_HALF_WIDTH:g} %, up to ±{100 * half_width(worst):.0f} % "
                f"({worst.target}, {worst.axes['component']}); measure on a quiet machine, or "
                f"with more rounds"
            )
        if self.unsettled:
            told = "; ".join(self.unsettled)
            warnings.append(f"warning: times had not settled when the warm-up ended: {told}")
        return warnings


def half_width(figure: Figure) -> float:
    """Return half a figure's interval as a share of its value; 0 without an interval."""
    if figure.low is None or figure.high is None or not figure.value:
        return 0.0
    return (figure.high - figure.low) / 2 / figure.value
