"""Two reports side by side: what got better or worse, and whether noise explains it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

from hemogat.benchmarks.environment import Environment
from hemogat.benchmarks.figures import OVER, P50, SPEED_UP, Figure
from hemogat.benchmarks.report import BenchReport, flat_settings, told
from hemogat.config import Settings
from hemogat.errors import InputError

# changed: beyond noise, and neither direction is the better one.
Verdict = Literal["worse", "better", "changed", "within noise", "within tolerance", "same"]
BEYOND_NOISE: tuple[Verdict, ...] = get_args(Verdict)[:3]
# What told noise from change: nothing had to (the figure is counted), the 95 % intervals of both,
# or, where either has none, how much is tolerated.
Judge = Literal["count", "intervals", "tolerance"]

TOLERATED = 0.1  # of what a figure was, where it has no interval and no other share is asked for
# Files of the same content may differ by some bytes, in names and versions that they carry.
COUNTED_TOLERANCE = 0.001
_ERRORS = "errors"


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
    judged_by: Judge
    verdict: Verdict

    @property
    def worsening(self) -> float:
        """By what share of what it was the figure got worse; negative where it got better."""
        return _worsening(self.before, self.after)


class ReportComparison(Settings):
    """What two reports have in common, and in what they differ.

    ``differences``: conditions that are not the same, a line each; figures may differ for these
    reasons alone. ``only_before`` and ``only_after``: figures that the other report lacks.
    ``same_machine``: processor, cores, memory and GPUs are the same; ``quiet``: neither run says
    that the machine was busy. ``tolerated``: the share by which figures without an interval may
    differ.
    """

    before: str
    after: str
    differences: tuple[str, ...]
    same_machine: bool
    quiet: bool
    tolerated: float
    changes: tuple[FigureChange, ...]
    only_before: tuple[Figure, ...]
    only_after: tuple[Figure, ...]

    def with_verdict(self, *verdicts: Verdict) -> list[FigureChange]:
        """Return the changes of some verdicts, the largest first."""
        found = [change for change in self.changes if change.verdict in verdicts]
        return sorted(found, key=lambda change: -abs(change.worsening))


def compare(
    before: BenchReport, after: BenchReport, tolerated: float = TOLERATED
) -> ReportComparison:
    """Join the figures of two reports by their keys.

    A speed-up is joined with one over the same target alone, whether the reports write it as an
    axis or leave it to the order of their targets.

    Raises:
        InputError: they have no figure in common.
    """
    old = {figure.key: figure for figure in _with_bases(before.figures)}
    new = {figure.key: figure for figure in _with_bases(after.figures)}
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
        same_machine=_machine(before.environment) == _machine(after.environment),
        quiet=not (before.noisy or after.noisy),
        tolerated=tolerated,
        changes=tuple(_change(old[key], new[key], tolerated) for key in common),
        only_before=tuple(figure for key, figure in old.items() if key not in new),
        only_after=tuple(figure for key, figure in new.items() if key not in old),
    )


def _with_bases(figures: Sequence[Figure]) -> Iterator[Figure]:
    """Name what speed-ups are over, where the report leaves that to the order of its targets.

    It is the first target with a median of the same axes and without a speed-up of its own.
    """
    faster = {(f.target, *sorted(f.axes.items())) for f in figures if f.metric == SPEED_UP}
    bases: dict[tuple[object, ...], str] = {}
    for figure in figures:
        axes = tuple(sorted(figure.axes.items()))
        if figure.metric == P50 and (figure.target, *axes) not in faster:
            bases.setdefault(axes, figure.target)
    for figure in figures:
        base = bases.get(tuple(sorted(figure.axes.items())))
        if figure.metric == SPEED_UP and OVER not in figure.axes and base is not None:
            yield figure.model_copy(update={"axes": figure.axes | {OVER: base}})
        else:
            yield figure


def _change(before: Figure, after: Figure, tolerated: float) -> FigureChange:
    low = high = None
    judge: Judge = "count" if before.exact else "tolerance"
    if None not in (before.low, before.high, after.low, after.high):
        low, high = _divided(after.low, before.high), _divided(after.high, before.low)
        judge = "intervals"
    return FigureChange(
        before=before,
        after=after,
        ratio=_divided(after.value, before.value),
        ratio_low=low,
        ratio_high=high,
        judged_by=judge,
        verdict=_verdict(before, after, judge, tolerated),
    )


def _divided(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


def _verdict(before: Figure, after: Figure, judge: Judge, tolerated: float) -> Verdict:
    worsening = _worsening(before, after)
    if judge == "count" and abs(worsening) <= COUNTED_TOLERANCE:
        return "same"
    if judge == "tolerance" and abs(worsening) <= tolerated:
        return "within tolerance"
    if judge == "intervals" and _overlap(before, after):
        return "within noise"
    if before.better == "neither":
        return "changed"
    return "better" if worsening < 0 else "worse"


def _overlap(before: Figure, after: Figure) -> bool:
    assert before.low is not None
    assert before.high is not None
    assert after.low is not None
    assert after.high is not None
    return before.low <= after.high and after.low <= before.high


def _worsening(before: Figure, after: Figure) -> float:
    difference = after.value - before.value
    if before.better == "higher":
        difference = -difference
    if before.metric == _ERRORS and None in (before.low, after.low):
        return difference / 100  # of all requests: one error after none is no endless growth
    if not before.value:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / abs(before.value)


def _name(report: BenchReport) -> str:
    commit = report.environment.git_commit
    return f"{report.title}, {report.created_utc}" + (f", commit {commit[:12]}" if commit else "")


def _machine(environment: Environment) -> tuple[object, ...]:
    gpus = tuple((gpu.name, gpu.memory_mib) for gpu in environment.gpus)
    found = environment
    return (
        found.cpu,
        found.cpu_model,
        found.cores,
        sorted(found.cpu_flags),
        found.memory_gib,
        gpus,
    )


def _differences(before: BenchReport, after: BenchReport) -> Iterator[str]:
    if (before.kind, before.title) != (after.kind, after.title):
        yield f"report: {before.kind}, {before.title} → {after.kind}, {after.title}"
    yield from _changed("", _facts(before.environment), _facts(after.environment))
    yield from _changed("setting ", flat_settings(before.settings), flat_settings(after.settings))
    if before.models and after.models:  # reports of earlier versions do not tell
        yield from _changed("model of ", _models(before), _models(after))
    for name, report in (("before", before), ("after", after)):
        if report.noisy:
            yield f"{name}: {report.noise}"


def _models(report: BenchReport) -> dict[str, object]:
    """Return which bundles stood behind targets."""
    return {
        f"{model.target}, {model.name}": (model.bundle_sha256 or "")[:12]
        for model in report.models
        if model.bundle_sha256 is not None
    }


def _facts(environment: Environment) -> dict[str, object]:
    return flat_settings(environment.model_dump(mode="json", exclude={"git_commit"}))


def _changed(label: str, before: dict[str, object], after: dict[str, object]) -> Iterator[str]:
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if old != new:
            yield f"{label}{name.removeprefix('versions.')}: {told(old)} → {told(new)}"
