"""The load report: what a server did under load, on what, and how it reads."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Literal

from hemogat.benchmarks.file_names import report_path
from hemogat.benchmarks.latency_report import Workload, markdown_row
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.server_counters import MemoryUse, ModelLoad
from hemogat.benchmarks.statistics import LatencySummary
from hemogat.config import NonNegativeInt, PositiveFloat, PositiveInt, Settings
from hemogat.contract import Engine, Precision
from hemogat.files import write_atomic

LoadKind = Literal["closed loop", "open loop", "streams"]
LEVEL_COLUMNS = (
    "load", "answered/s", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "n", "late p95 ms",
    "from sent p50, p95 ms", "errors", "error p95 ms", "memory MiB",
)  # fmt: skip
# A sender that comes later than this share of what the server takes is part of what is measured.
LATE_SHARE = 0.1
MODEL_COLUMNS = ("load", "model", "requests", "queue ms", "compute ms", "rows per execution")


class LoadSettings(Settings):
    """What to run, and for how long.

    ``concurrency``: closed loops with that many requests under way. ``rates_per_s``: open loops
    of so many requests a second; ``capacity_shares``: the same, as a share of the largest
    throughput of the closed loops. ``streams``: real-time streams at once, in chunks of
    ``chunk_ms``; 0: none. Each run lasts ``duration_s`` after ``warm_up_s``; those beyond capacity
    ``overload_s`` and streams ``stream_s`` (None: the same). In process and through the server are
    compared in ``compare_rounds`` turns of ``compare_s``, each with one utterance at a time and
    with ``compare_batch`` of them. ``engine`` and ``precision``: None for the bundle's first, or
    for what a running server has, as ``threads`` of one graph; a server that is started for this
    has as many as there are cores for None. In a report they are what was measured.
    """

    engine: Engine | None = None
    precision: Precision | None = None
    threads: PositiveInt | None = None
    concurrency: tuple[PositiveInt, ...] = (1, 2, 4, 8, 16, 32)
    rates_per_s: tuple[PositiveFloat, ...] = ()
    capacity_shares: tuple[PositiveFloat, ...] = (0.5, 0.8, 1.5)
    streams: NonNegativeInt = 20
    chunk_ms: PositiveInt = 100
    duration_s: PositiveFloat = 15.0
    overload_s: PositiveFloat | None = None
    stream_s: PositiveFloat | None = None
    warm_up_s: PositiveFloat = 2.0
    compare_rounds: PositiveInt = 5
    compare_s: PositiveFloat = 4.0
    compare_batch: PositiveInt = 16
    seed: NonNegativeInt = 0


class LoadLevel(Settings):
    """What came of one load.

    ``offered``: requests under way (closed loop), requests a second (open loop), or streams;
    ``capacity_share``: where a rate was given so.
    Requests are counted by how they ended: ``latency`` of the answered ones (None: there is none)
    and ``p50_by_third_ms`` and ``p95_by_third_ms`` of them by when they were due, which tells
    drift; ``errors`` by status, with how long those took. All that counts from when a request was
    due; ``send_lag`` tells how late requests were sent, and ``from_sent`` and ``error_from_sent``
    how long the answered and the others took from then (None in reports from before there were).
    ``models``: by the server's own statistics. ``memory``: None when the server is not one of this
    machine's that this program started.
    """

    kind: LoadKind
    offered: float
    capacity_share: float | None = None
    duration_s: float
    answered_per_s: float
    latency: LatencySummary | None
    p50_by_third_ms: tuple[float, ...]
    p95_by_third_ms: tuple[float, ...] = ()
    errors: dict[str, int]
    error_latency: LatencySummary | None
    send_lag: LatencySummary | None = None
    from_sent: LatencySummary | None = None
    error_from_sent: LatencySummary | None = None
    models: dict[str, ModelLoad]
    memory: MemoryUse | None

    @property
    def sender_was_late(self) -> bool:
        """Whether latency from when requests were due says much about their sender."""
        if self.send_lag is None or self.from_sent is None:
            return False
        return self.send_lag.p95_ms > LATE_SHARE * self.from_sent.p50_ms

    @property
    def name(self) -> str:
        """What was offered, in words."""
        if self.kind == "closed loop":
            return f"{self.offered:g} at a time"
        return (
            f"{self.offered:.1f} a second"
            if self.kind == "open loop"
            else f"{self.offered:g} streams"
        )


class Comparison(Settings):
    """The server against the pipeline in process, taking turns in one run.

    ``in_process``, ``served``: one utterance at a time. The others: utterances a second with
    ``batch`` of them at a time, in process as one call, at the server as concurrent requests; one
    figure for each turn.
    """

    in_process: LatencySummary
    served: LatencySummary
    batch: PositiveInt
    in_process_per_s: tuple[float, ...]
    served_per_s: tuple[float, ...]

    @property
    def added_p50_ms(self) -> float:
        """What the server adds to the median."""
        return self.served.p50_ms - self.in_process.p50_ms

    @property
    def throughput_share(self) -> float:
        """Median over the turns of served by in-process throughput."""
        pairs = zip(self.served_per_s, self.in_process_per_s, strict=True)
        return median(served / in_process for served, in_process in pairs)


class LoadReport(BenchReport):
    """One bundle's server under load on one machine, the load's sender on the same one.

    ``bundle_sha256`` is the SHA-256 of the bundle's ``SHA256SUMS``. ``server`` is the version
    that Triton gives.
    """

    kind: Literal["load"] = "load"
    bundle: str
    bundle_sha256: str
    settings: LoadSettings
    workload: Workload
    server: str
    comparison: Comparison
    levels: tuple[LoadLevel, ...]

    @property
    def target(self) -> str:
        """The engine and precision that were measured."""
        return f"{self.settings.engine}-{self.settings.precision}"

    def to_markdown(self, picture: str | None = None) -> str:
        """Return the report as Markdown; ``picture`` is a file beside it."""
        lines = [f"# {self.title}", ""]
        lines += [f"- {line}" for line in self.conditions()]
        if picture is not None:
            lines += ["", f"![Latency and throughput]({picture})"]
        tables = ((LEVEL_COLUMNS, self.level_rows(), 1), (MODEL_COLUMNS, self.model_rows(), 2))
        for columns, rows, names in tables:
            rule = ["---"] * names + ["---:"] * (len(columns) - names)
            lines += ["", markdown_row(columns), markdown_row(rule), *map(markdown_row, rows)]
        return "\n".join([*lines, ""])

    def level_rows(self) -> list[tuple[str, ...]]:
        """Return one row of cells for each load, in the order of LEVEL_COLUMNS."""
        return [
            (
                f"{level.kind}, {level.name}",
                f"{level.answered_per_s:.1f}",
                *_percentiles(level.latency),
                "" if level.send_lag is None else f"{level.send_lag.p95_ms:.1f}",
                _from_sent(level.from_sent),
                ", ".join(f"{count} {status}" for status, count in level.errors.items()),
                "" if level.error_latency is None else f"{level.error_latency.p95_ms:.1f}",
                _memory(level.memory),
            )
            for level in self.levels
        ]

    def model_rows(self) -> list[tuple[str, ...]]:
        """Return one row of cells for each load and model, in the order of MODEL_COLUMNS."""
        return [
            (
                f"{level.kind}, {level.name}",
                name,
                str(model.requests),
                f"{model.queue_ms:.2f}",
                f"{model.compute_ms:.2f}",
                f"{model.batch_rows:.1f}",
            )
            for level in self.levels
            for name, model in level.models.items()
        ]


def load_report_path(report: LoadReport, folder: Path) -> Path:
    """Return the report's file in ``folder``, named after its conditions."""
    threads = [] if report.settings.threads is None else [f"{report.settings.threads}t"]
    conditions = ("load", report.bundle, report.target, *threads)
    return report_path(folder, report.environment, *conditions)


def write_load_report(report: LoadReport, folder: Path) -> Path:
    """Write the report as JSON, Markdown and a picture; return the JSON's path.

    Raises:
        IncompleteError: matplotlib, which draws the picture, is not installed.
    """
    from hemogat.benchmarks.serving_load_plot import draw_load

    path = load_report_path(report, folder)
    picture = path.with_suffix(".png")
    write_atomic(path, report.to_json())  # first: a picture that fails must not cost the load
    draw_load(report, picture)
    write_atomic(path.with_suffix(".md"), report.to_markdown(picture.name))
    return path


def _percentiles(latency: LatencySummary | None) -> tuple[str, ...]:
    if latency is None:
        return ("", "", "", "", "0")
    times_ms = (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms)
    return (*(f"{time_ms:.1f}" for time_ms in times_ms), str(latency.n))


def _from_sent(latency: LatencySummary | None) -> str:
    return "" if latency is None else f"{latency.p50_ms:.1f}, {latency.p95_ms:.1f}"


def _memory(memory: MemoryUse | None) -> str:
    if memory is None:
        return ""
    return f"{memory.before_mib:.0f}, {memory.peak_mib:.0f}, {memory.after_mib:.0f}"
