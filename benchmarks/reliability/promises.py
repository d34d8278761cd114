"""What each phase must have found; whatever else it found is a problem, in words."""

from __future__ import annotations

from reliability.faults_run import FaultsReport
from reliability.hostile_run import ADMITTED, HostileReport
from reliability.http_run import HttpReport
from reliability.server_tree import Footprint
from reliability.valid_run import SoakReport

MAX_GROWTH = 0.05
TOLERANCE = 1e-6  # concurrent requests batch in other ways, whose sums differ in the last bits
WRITTEN = 1e-6  # predictions are written with six decimals


def problems_of_hostile(report: HostileReport, max_growth: float = MAX_GROWTH) -> list[str]:
    """Say what is not as promised."""
    found = [f"unexpected answer: {text}" for text in report.outcome.unexpected]
    for kind, statuses in report.outcome.statuses.items():
        found += [f"{kind}: {count} x {s}" for s, count in statuses.items() if s not in ADMITTED]
    found += _wrong(report.outcome.wrong_after)
    return found + _changes(report.before, report.after, max_growth)


def problems_of_http(report: HttpReport, max_growth: float = MAX_GROWTH) -> list[str]:
    """Say what is not as promised."""
    found = [f"unexpected answer: {text}" for text in report.unexpected]
    found += _wrong(report.wrong_after)
    return found + _changes(report.before, report.after, max_growth)


def problems_of_soak(report: SoakReport, max_growth: float = MAX_GROWTH) -> list[str]:
    """Say what is not as promised."""
    found = report.errors[:20]
    if report.largest > TOLERANCE:
        found.append(f"answers differ from the first pass by up to {report.largest:.2g}")
    return found + _changes(report.before, report.after, max_growth)


def problems_of_faults(report: FaultsReport) -> list[str]:
    """Say what is not as promised."""
    counts = {
        "rows were lost": report.lost,
        "rows were answered twice": report.twice,
        "rows have another label than undisturbed": report.other_label,
        "rows kept over a kill of the client were answered anew": report.kept_changed,
    }
    found = [f"{count} {what}" for what, count in counts.items() if count]
    found += [f"no {target} was killed" for target, count in report.kills.items() if not count]
    if report.largest > TOLERANCE + WRITTEN:
        found.append(f"answers differ from the undisturbed ones by up to {report.largest:.2g}")
    return found


def _wrong(count: int) -> list[str]:
    return [f"{count} valid requests were answered wrongly"] if count else []


def _changes(before: Footprint, after: Footprint, max_growth: float) -> list[str]:
    ended = ["a process ended"] if before.processes != after.processes else []
    growth = before.growth_to(after)
    return ended + [f"{name} grew by {g:.1%}" for name, g in growth.items() if g > max_growth]
