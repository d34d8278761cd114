"""The latency report: what was measured, on what, and how it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.file_names import report_path
from hemogat.benchmarks.latency import Latencies, LatencySettings
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.statistics import LatencySummary, latency_figures
from hemogat.config import PositiveInt, Settings
from hemogat.files import write_atomic
from hemogat.serving.client import Protocol

_PROTOCOL_NAMES: dict[Protocol, str] = {"grpc": "gRPC", "http": "HTTP"}
TABLE_COLUMNS = ("where", "stage", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "mean ms", "n")


class Spread(Settings):
    """Smallest, median and largest of what the clips have."""

    smallest: int
    median: float
    largest: int


class Workload(Settings):
    """What the calls had to work on; a modality that no clip has is None.

    ``windows`` are those of 1 s that the audio encoder gets of one clip, ``tokens`` those that
    the text encoder gets, padding included.
    """

    clips: PositiveInt
    windows: Spread | None
    tokens: Spread | None
    bank_rows: PositiveInt


class TritonLatency(Settings):
    """What a Triton server on the same machine took; ``version`` is as it says itself."""

    version: str
    stages: dict[Protocol, Latencies]


class LatencyReport(BenchReport):
    """One bundle's latency on one machine.

    ``bundle_sha256`` is the SHA-256 of the bundle's ``SHA256SUMS``, and so stands for all of its
    files. ``triton`` is None when nothing was measured there; ``triton_missing`` then says what
    was missing, if that was the reason.
    """

    kind: Literal["latency"] = "latency"
    bundle: str
    bundle_sha256: str
    settings: LatencySettings
    workload: Workload
    in_process: Latencies
    triton: TritonLatency | None
    triton_missing: str | None

    def to_markdown(self) -> str:
        """Return the report as Markdown: what it was measured on, and the table."""
        lines = [
            f"# {self.title}",
            "",
            *(f"- {condition}" for condition in self.conditions()),
            "",
            markdown_row(TABLE_COLUMNS),
            markdown_row(["---", "---", *["---:"] * (len(TABLE_COLUMNS) - 2)]),
            *(markdown_row(row) for row in self.table_rows()),
            "",
        ]
        return "\n".join(lines)

    def table_rows(self) -> list[tuple[str, ...]]:
        """Return one row of cells for each place and stage, in the order of TABLE_COLUMNS."""
        return [
            (place, stage, *summary_cells(summary))
            for place, stages in _places(self.in_process, self.triton).items()
            for stage, summary in stages.items()
        ]


def stage_figures(
    settings: LatencySettings, in_process: Latencies, triton: TritonLatency | None
) -> tuple[Figure, ...]:
    """Return the figures of every place and stage."""
    engine = f"{settings.engine}-{settings.precision}"
    return tuple(
        figure
        for place, stages in _places(in_process, triton).items()
        for stage, summary in stages.items()
        for figure in latency_figures(f"{engine}, {place}", summary, {"component": stage})
    )


def latency_notes(
    settings: LatencySettings,
    workload: Workload,
    triton: TritonLatency | None,
    triton_missing: str | None,
) -> tuple[str, ...]:
    """Return how it was measured, and on what, one line each."""
    threads = "as many threads as cores" if settings.threads is None else f"{settings.threads}"
    notes = [
        f"one utterance at a time, {settings.utterances} of them, after "
        f"{settings.warm_up_rounds} warm-up rounds; threads per graph: {threads}",
        f"{workload.clips} clips, {_spread(workload.windows)} windows of 1 s, "
        f"{_spread(workload.tokens)} tokens; bank of {workload.bank_rows} utterances",
    ]
    if triton is not None:
        notes.append(f"Triton {triton.version}, on the same machine as its client")
    if triton_missing is not None:
        notes.append(f"not measured through Triton: {triton_missing}")
    return tuple(notes)


def write_report(report: LatencyReport, folder: Path) -> Path:
    """Write the report as JSON, its conditions in the file name; return the path.

    Beside it goes the same as Markdown. An earlier report of the same conditions is replaced.
    """
    settings = report.settings
    threads = [] if settings.threads is None else [f"{settings.threads}t"]
    conditions = ("latency", report.bundle, settings.engine, settings.precision, *threads)
    path = report_path(folder, report.environment, *conditions)
    write_atomic(path, report.to_json())
    write_atomic(path.with_suffix(".md"), report.to_markdown())
    return path


def summary_cells(summary: LatencySummary) -> tuple[str, ...]:
    """Return the figures of one row, in the order of TABLE_COLUMNS."""
    times_ms = (summary.p50_ms, summary.p90_ms, summary.p95_ms, summary.p99_ms, summary.mean_ms)
    return (*(f"{time_ms:.2f}" for time_ms in times_ms), str(summary.n))


def markdown_row(cells: tuple[str, ...] | list[str]) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def _places(in_process: Latencies, triton: TritonLatency | None) -> dict[str, Latencies]:
    served = {} if triton is None else triton.stages
    through = {f"Triton {_PROTOCOL_NAMES[p]}": stages for p, stages in served.items()}
    return {"in process": in_process, **through}


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "no"
    if spread.smallest == spread.largest:
        return str(spread.smallest)
    return f"{spread.smallest} to {spread.largest} (median {spread.median:g})"
