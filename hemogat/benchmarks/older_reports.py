"""Reports of schema version 1, which had no figures in common: read as version 2.

Their results are the same; only the shared list of figures is made of them anew. They have no
intervals, and do not tell what other processes did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hemogat.benchmarks.authors_way import TransductiveLatency
from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.latency_report import LatencyReport, latency_notes, stage_figures
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.serving_load_figures import load_figures, load_notes
from hemogat.benchmarks.serving_load_report import LoadLevel, LoadReport
from hemogat.benchmarks.statistics import LatencySummary, latency_figures
from hemogat.config import Settings

OLD_VERSION = 1
_SAME_RATE = 1e-6


def upgraded(raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a report of version 1 as one of version 2; None if it is of no kind that was.

    Raises:
        ValidationError: a field is missing or wrong.
    """
    for field, upgrade in _KINDS.items():
        if field in raw:
            current = {**raw, "schema_version": 2, "title": "", "figures": (), "notes": ()}
            return upgrade(current).model_dump(mode="json")
    return None


def _latency(raw: dict[str, Any]) -> BenchReport:
    found = LatencyReport.model_validate(raw)
    engine = f"{found.settings.engine}-{found.settings.precision}"
    missing = found.triton_missing
    return found.model_copy(
        update={
            "title": f"Latency of {found.bundle}, {engine}",
            "notes": latency_notes(found.settings, found.workload, found.triton, missing),
            "figures": stage_figures(found.settings, found.in_process, found.triton),
        }
    )


class _OldEngine(Settings):
    name: str
    tokens: int
    stages: dict[str, LatencySummary]
    size_mib: float | None
    peak_memory_mib: float | None

    def figures(self, bank_rows: int) -> list[Figure]:
        """Return the figures of every stage, and the size and memory."""
        found = []
        for stage, summary in self.stages.items():
            axes: dict[str, str | int] = {"component": stage}
            axes |= {"tokens": self.tokens} if stage in ("text_encoder", "end_to_end") else {}
            axes |= {"bank_rows": bank_rows} if stage in ("fusion", "end_to_end") else {}
            found += latency_figures(self.name, summary, axes)
        sizes = {"size": self.size_mib, "peak_memory": self.peak_memory_mib}
        return found + [
            Figure(target=self.name, metric=metric, unit="MiB", value=mib)
            for metric, mib in sizes.items()
            if mib is not None
        ]


class _OldBank(Settings):
    rows: int
    fusion: _OldEngine


class _OldEngineReport(BenchReport):
    export_s: float
    engines: tuple[_OldEngine, ...]
    skipped: dict[str, str]
    larger_banks: tuple[_OldBank, ...]
    transductive: TransductiveLatency


def _engines(raw: dict[str, Any]) -> BenchReport:
    found = _OldEngineReport.model_validate(
        {**raw, "kind": "engines", "title": "Latency of the base preset"}
    )
    rows = raw["settings"]["bank_rows"]
    figures = [figure for engine in found.engines for figure in engine.figures(rows)]
    figures += [figure for bank in found.larger_banks for figure in bank.fusion.figures(bank.rows)]
    return found.model_copy(
        update={
            "notes": tuple(f"not measured: {n}: {why}" for n, why in found.skipped.items()),
            "figures": (*figures, *found.transductive.figures()),
        }
    )


def _load(raw: dict[str, Any]) -> BenchReport:
    found = LoadReport.model_validate(raw)
    settings, compared = found.settings, found.comparison
    levels = tuple(_with_share(level, found) for level in found.levels)
    return found.model_copy(
        update={
            "title": f"{found.bundle} under load, {settings.engine}-{settings.precision}",
            "levels": levels,
            "notes": load_notes(settings, found.workload, found.server, compared, levels),
            "figures": load_figures(compared, levels),
        }
    )


def _with_share(level: LoadLevel, report: LoadReport) -> LoadLevel:
    """Find the share of the capacity that a rate was, which version 1 did not write down."""
    closed = [other for other in report.levels if other.kind == "closed loop"]
    capacity_per_s = max((other.answered_per_s for other in closed), default=0.0)
    for share in report.settings.capacity_shares:
        rate_per_s = share * capacity_per_s
        if level.kind == "open loop" and abs(level.offered - rate_per_s) < _SAME_RATE * rate_per_s:
            return level.model_copy(update={"capacity_share": share})
    return level


# By a field that only this kind had.
_KINDS: dict[str, Callable[[dict[str, Any]], BenchReport]] = {
    "in_process": _latency,
    "engines": _engines,
    "levels": _load,
}
