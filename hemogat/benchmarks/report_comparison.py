"""Two reports side by side: what got better or worse, and whether noise explains it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, get_args

from hemogat.benchmarks.environment import Environment
from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.report import BenchReport, flat_settings, told
from hemogat.config import Settings
from hemogat.errors import InputError

# changed: beyond noise, and neither direction is the better one. unknown: measured once, so
# nothing tells whether noise explains the difference.
Verdict = Literal["worse", "better", "changed", "within noise", "same", "unknown"]
BEYOND_NOISE: tuple[Verdict, ...] = get_args(Verdict)[:3]


class FigureChange(Settings):
    """One figure in both reports.

    ``ratio`` is after over before, None where before is 0. Its bounds come from those of both
    figures, after's lower over before's upper and the other way round: they exclude 1 exactly when
    the intervals do not overlap, which is stricter than a test at 5 %.
    """

    before: Figure
    after: Figure
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    verdict: Verdict

    @property
    def worsening(self) -> float:
        """By what share of what it was the figure got worse; negative where it got better."""
        difference = self.after.value - self.before.value
        if self.before.better == "higher":
            difference = -difference
        if not self.before.value:
            return math.copysign(math.inf, difference) if difference else 0.0
        return difference / abs(self.before.value)


class ReportComparison(Settings):
    """What two reports have in common, and in what they differ.

    ``differences``: conditions that are not the same, a line each; figures may differ for these
    reasons alone. ``only_before`` and ``only_after``: figures that the other report lacks.
    """

    before: str
    after: str
    differences: tuple[str, ...]
    changes: tuple[FigureChange, ...]
    only_before: tuple[Figure, ...]
    only_after: tuple[Figure, ...]

    def with_verdict(self, *verdicts: Verdict) -> list[FigureChange]:
        """Return the changes of some verdicts, the largest first."""
        found = [change for change in self.changes if change.verdict in verdicts]
        return sorted(found, key=lambda change: -abs(change.worsening))

    def regressions(self, tolerated: float) -> list[FigureChange]:
        """Return what got worse, beyond noise, by more than a share of what it was."""
        return [c for c in self.with_verdict("worse") if c.worsening > tolerated]


def compare(before: BenchReport, after: BenchReport) -> ReportComparison:
    """Join the figures of two reports by their keys.

    Raises:
        InputError: they have no figure in common.
    """
    old = {figure.key: figure for figure in before.figures}
    new = {figure.key: figure for figure in after.figures}
    common = [key for key in old if key in new]
    if not common:
        raise InputError(
            f"expected reports with figures in common, found {before.kind} ({before.title}) and "
            f"{after.kind} ({after.title})"
        )
    return ReportComparison(
        before=_name(before),
        after=_name(after),
        differences=tuple(_differences(before, after)),
        changes=tuple(_change(old[key], new[key]) for key in common),
        only_before=tuple(figure for key, figure in old.items() if key not in new),
        only_after=tuple(figure for key, figure in new.items() if key not in old),
    )


def _change(before: Figure, after: Figure) -> FigureChange:
    low = high = None
    if None not in (before.low, before.high, after.low, after.high):
        low, high = _divided(after.low, before.high), _divided(after.high, before.low)
    return FigureChange(
        before=before,
        after=after,
        ratio=_divided(after.value, before.value),
        ratio_low=low,
        ratio_high=high,
        verdict=_verdict(before, after),
    )


def _divided(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


def _verdict(before: Figure, after: Figure) -> Verdict:
    if before.exact:
        if before.value == after.value:
            return "same"
    elif before.low is None or before.high is None or after.low is None or after.high is None:
        return "unknown"
    elif before.low <= after.high and after.low <= before.high:
        return "within noise"
    if before.better == "neither":
        return "changed"
    return "better" if (after.value > before.value) == (before.better == "higher") else "worse"


def _name(report: BenchReport) -> str:
    commit = report.environment.git_commit
    return f"{report.title}, {report.created_utc}" + (f", commit {commit[:12]}" if commit else "")


def _differences(before: BenchReport, after: BenchReport) -> Iterator[str]:
    if (before.kind, before.title) != (after.kind, after.title):
        yield f"report: {before.kind}, {before.title} → {after.kind}, {after.title}"
    yield from _changed("", _facts(before.environment), _facts(after.environment))
    yield from _changed("setting ", flat_settings(before.settings), flat_settings(after.settings))
    for name, report in (("before", before), ("after", after)):
        if report.noisy:
            yield f"{name}: {report.noise}"


def _facts(environment: Environment) -> dict[str, object]:
    return flat_settings(environment.model_dump(mode="json", exclude={"git_commit"}))


def _changed(label: str, before: dict[str, object], after: dict[str, object]) -> Iterator[str]:
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if old != new:
            yield f"{label}{name.removeprefix('versions.')}: {told(old)} → {told(new)}"
