"""Whether a later report may pass: what ``hemogat bench compare --fail-on-regression`` decides."""

from __future__ import annotations

from hemogat.benchmarks.figures import RELATIVE, SPEED_UP, Figure, Unit
from hemogat.benchmarks.report_comparison import FigureChange, ReportComparison, Verdict
from hemogat.config import Settings

# Ratios of times taken in turns: what drifts hits both. One over another target holds on other
# machines too, one over the reference workload on the same.
_PAIRED = (SPEED_UP, RELATIVE)
# Whether there are some depends on how many rounds were taken, or on whether any was refused.
_MAY_BE_MISSING = ("p90", "p95", "p99", "refused_p50", "refused_p95")
# Shares of utterances or requests do not depend on how fast the machine is; times and rates do.
_SHARES: tuple[Unit, ...] = ("%", "points")
_MEMORY: Unit = "MiB"


class Gate(Settings):
    """What fails a report, and what was not looked at.

    ``missing``: figures that the earlier report has and the later one lacks, but for those that
    depend on how many rounds were taken.
    ``left_out``: figures that do not count here; ``reason`` says why. ``untold``: those that got
    worse by more than is tolerated, within intervals too wide to tell it from noise.
    """

    regressions: tuple[FigureChange, ...]
    missing: tuple[Figure, ...]
    left_out: int
    reason: str
    untold: tuple[FigureChange, ...]

    @property
    def failed(self) -> bool:
        """Whether anything got worse or is missing."""
        return bool(self.regressions or self.missing)

    def in_words(self, tolerated: float) -> list[str]:
        """Return a line for each kind of failure, and one for what was left out."""
        found = []
        if self.regressions:
            worst = self.regressions[0]
            found.append(
                f"{len(self.regressions)} figures got worse by more than {100 * tolerated:g} %: "
                f"{worst.before.name}, {100 * worst.worsening:.1f} % ({worst.judged_by})"
                + _more(len(self.regressions))
            )
        if self.missing:
            name = self.missing[0].name
            found.append(
                f"{len(self.missing)} figures are missing: {name}{_more(len(self.missing))}"
            )
        if self.untold:
            name = self.untold[0].before.name
            found.append(
                f"{len(self.untold)} figures could not be told from noise, though worse by more "
                f"than {100 * tolerated:g} %: {name}{_more(len(self.untold))}; measure longer"
            )
        if self.left_out:
            found.append(f"{self.left_out} figures were not judged: {self.reason}")
        return found


def gate(found: ReportComparison) -> Gate:
    """Judge by the paired ratios where both reports have them, and always by what is counted.

    Times, rates and memory of another machine, and times taken beside other work, count only where
    there are no such ratios.
    """
    holding = _PAIRED if found.same_machine else (SPEED_UP,)
    paired = any(change.before.metric in holding for change in found.changes)

    def counts(figure: Figure) -> bool:
        if figure.exact or figure.metric in holding or figure.unit in _SHARES or not paired:
            return True
        return found.same_machine and (found.quiet or figure.unit == _MEMORY)

    def beyond(verdict: Verdict) -> tuple[FigureChange, ...]:
        changes = (c for c in found.with_verdict(verdict) if c.worsening > found.tolerated)
        return tuple(change for change in changes if counts(change.before))

    return Gate(
        regressions=beyond("worse"),
        untold=beyond("within noise"),
        missing=tuple(f for f in found.only_before if f.metric not in _MAY_BE_MISSING),
        left_out=sum(not counts(change.before) for change in found.changes),
        reason="the machine was busy" if found.same_machine else "they are of another machine",
    )


def _more(count: int) -> str:
    return f" and {count - 1} more" if count > 1 else ""
