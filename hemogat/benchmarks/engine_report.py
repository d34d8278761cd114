"""The report on engines: what was measured on the base preset, and how it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from hemogat.benchmarks.figures import SPEED_UP, Figure
from hemogat.benchmarks.latency import Latencies, Stage
from hemogat.benchmarks.latency_report import TABLE_COLUMNS, markdown_row, slug, summary_cells
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.rounds import HALF_WIDTH
from hemogat.benchmarks.statistics import LatencySummary, latency_figures
from hemogat.config import NonNegativeInt, PositiveFloat, PositiveInt, Settings
from hemogat.files import write_atomic

_TORCH, _ONNX_FP32 = "torch", "ONNX Runtime fp32"


class EngineSettings(Settings):
    """What to run and how often.

    ``rounds``: how often every candidate runs at least, taking turns, after ``warm_up_rounds``;
    then further rounds until every median's interval is within ±``half_width`` of it, or
    ``limit_s`` are over.
    ``threads``: how many one graph may use; None: as many as there are cores. ``larger_banks``:
    rows of further banks, against which the fusion graph alone is timed.
    """

    bank_rows: PositiveInt = 4407
    larger_banks: tuple[PositiveInt, ...] = (44_070,)
    threads: PositiveInt | None = None
    rounds: PositiveInt = 50
    half_width: PositiveFloat = HALF_WIDTH
    limit_s: Annotated[float, Field(ge=0)] = 240.0
    warm_up_rounds: NonNegativeInt = 5
    calibration_samples: PositiveInt = 64
    transductive_rounds: PositiveInt = 3


class SpeedUp(Settings):
    """The first engine's time over this one's: the median over rounds, with its interval."""

    value: float
    low: float | None
    high: float | None


class EngineLatency(Settings):
    """One engine and precision; ``tokens`` is what the text was padded to.

    ``speed_ups``: over the first engine, by stage; empty for that one and where it has no part.

    ``peak_memory_mib``: of a process that loads the graphs and runs each once; like the size, None
    for torch, whose models are built in place.
    """

    name: str
    tokens: PositiveInt
    stages: Latencies
    speed_ups: dict[Stage, SpeedUp] = Field(default_factory=dict)
    size_mib: float | None
    peak_memory_mib: float | None


class BankLatency(Settings):
    """The fusion graph of one engine against a larger bank."""

    rows: PositiveInt
    fusion: EngineLatency


class TransductiveLatency(Settings):
    """One new utterance among ``nodes`` nodes: graph and forward together."""

    nodes: int
    authors_graph: LatencySummary
    authors_forward: LatencySummary
    authors_total: LatencySummary
    ours_total: LatencySummary


class EngineReport(BenchReport):
    """Engines side by side on one machine, weights random.

    ``export_s``: building the models, and writing and loading all engines. ``skipped``: what
    cannot run here, with the reason.
    """

    kind: Literal["engines"] = "engines"
    title: str = "Latency of the base preset"
    settings: EngineSettings
    export_s: float
    engines: tuple[EngineLatency, ...]
    skipped: dict[str, str]
    larger_banks: tuple[BankLatency, ...]
    transductive: TransductiveLatency

    def table_rows(self) -> list[tuple[str, ...]]:
        """Return one row of cells for each engine and stage, in the order of TABLE_COLUMNS."""
        rows = [
            (engine.name, stage, *summary_cells(summary))
            for engine in self.engines
            for stage, summary in engine.stages.items()
        ]
        for bank in self.larger_banks:
            name = f"{bank.fusion.name}, {bank.rows} bank rows"
            rows.append((name, "fusion", *summary_cells(bank.fusion.stages["fusion"])))
        paths = self.transductive
        for name, summary in (
            ("authors' way, graph", paths.authors_graph),
            ("authors' way, forward", paths.authors_forward),
            ("our transductive path", paths.ours_total),
        ):
            rows.append((name, f"{paths.nodes} nodes", *summary_cells(summary)))
        return rows

    def ratio_rows(self) -> list[tuple[str, ...]]:
        """Return, for each engine: times faster end to end, size and peak memory."""
        torch_engines = [e for e in self.engines if e.name.startswith(_TORCH)]
        onnx = [e for e in self.engines if e.name == _ONNX_FP32]
        return [
            (
                engine.name,
                f"{_p50_ms(engine):.1f}",
                *(f"{_p50_ms(base) / _p50_ms(engine):.2f}" for base in (*torch_engines, *onnx)),
                "" if engine.size_mib is None else f"{engine.size_mib:.0f}",
                "" if engine.peak_memory_mib is None else f"{engine.peak_memory_mib:.0f}",
            )
            for engine in self.engines
        ]

    def ratio_columns(self) -> tuple[str, ...]:
        """Return the names of the columns of :meth:`ratio_rows`."""
        bases = [e.name for e in self.engines if e.name.startswith(_TORCH) or e.name == _ONNX_FP32]
        times = (f"times faster than {name}" for name in bases)
        return ("engine", "end to end p50 ms", *times, "size MiB", "peak memory MiB")

    def to_markdown(self) -> str:
        """Return the report as Markdown: conditions, ratios, all figures."""
        lines = [f"# {self.title}", ""]
        lines += [f"- {condition}" for condition in self.conditions()]
        tables = (
            (self.ratio_columns(), self.ratio_rows(), 1),
            (TABLE_COLUMNS, self.table_rows(), 2),
        )
        for columns, rows, names in tables:
            rule = ["---"] * names + ["---:"] * (len(columns) - names)
            lines += ["", markdown_row(columns), markdown_row(rule), *map(markdown_row, rows)]
        return "\n".join([*lines, ""])


def engine_notes(
    settings: EngineSettings,
    export_s: float,
    engines: Sequence[EngineLatency],
    skipped: Mapping[str, str],
    paths: TransductiveLatency,
) -> tuple[str, ...]:
    """Return how it was measured, and on what, one line each."""
    threads = "as many threads as cores" if settings.threads is None else f"{settings.threads}"
    fusion_ms = min(engine.stages["fusion"].p50_ms for engine in engines)
    authors, ours = paths.authors_total.p50_ms / fusion_ms, paths.ours_total.p50_ms / fusion_ms
    rounds = engines[0].stages["fusion"].n
    return (
        f"random weights of wav2vec2-base and BERT-base; 1 window of 1 s, 16 tokens; bank of "
        f"{settings.bank_rows} rows; threads per graph: {threads}",
        f"{rounds} rounds, the engines taking turns, after {settings.warm_up_rounds} of warm-up: "
        f"at least {settings.rounds}, and more until every median's interval is within "
        f"±{100 * settings.half_width:g} %, for up to {settings.limit_s:g} s",
        f"speed_up: the median over rounds of {engines[0].name}'s time over the engine's",
        f"int8 calibrated on {settings.calibration_samples} samples; building all engines took "
        f"{export_s:.0f} s",
        f"one new utterance among {paths.nodes} nodes: the authors' way takes {authors:.0f} "
        f"times as long as the fastest fusion graph here, our transductive path {ours:.0f} times",
        *(f"not measured: {name}: {reason}" for name, reason in skipped.items()),
    )


def engine_figures(
    settings: EngineSettings,
    engines: Sequence[EngineLatency],
    larger_banks: Sequence[BankLatency],
    paths: TransductiveLatency,
) -> tuple[Figure, ...]:
    """Return the figures of every engine, of the larger banks and of the transductive paths."""
    found: list[Figure] = []
    for engine in engines:
        for stage, summary in engine.stages.items():
            axes: dict[str, str | int] = {"component": stage}
            axes |= {"tokens": engine.tokens} if stage in ("text_encoder", "end_to_end") else {}
            axes |= {"bank_rows": settings.bank_rows} if stage in ("fusion", "end_to_end") else {}
            found += latency_figures(engine.name, summary, axes)
            if (ratio := engine.speed_ups.get(stage)) is not None:
                found.append(_speed_up(engine.name, ratio, axes))
        for metric, mib in (("size", engine.size_mib), ("peak_memory", engine.peak_memory_mib)):
            if mib is not None:
                found.append(Figure(target=engine.name, metric=metric, unit="MiB", value=mib))
    for bank in larger_banks:
        axes = {"component": "fusion", "bank_rows": bank.rows}
        found += latency_figures(bank.fusion.name, bank.fusion.stages["fusion"], axes)
    axes = {"component": "graph and forward", "nodes": paths.nodes}
    found += latency_figures("authors' way", paths.authors_total, axes)
    found += latency_figures("our transductive path", paths.ours_total, axes)
    return tuple(found)


def _speed_up(engine: str, ratio: SpeedUp, axes: dict[str, str | int]) -> Figure:
    return Figure(
        target=engine,
        metric=SPEED_UP,
        unit="ratio",
        value=ratio.value,
        low=ratio.low,
        high=ratio.high,
        better="higher",
        axes=axes,
    )


def write_engine_report(report: EngineReport, folder: Path) -> Path:
    """Write the report as JSON and Markdown, its conditions in the file name; return the JSON."""
    machine = report.environment
    path = folder / f"engines-base-{slug(machine.cpu)}-{machine.cores}c.json"
    write_atomic(path, report.to_json())
    write_atomic(path.with_suffix(".md"), report.to_markdown())
    return path


def _p50_ms(engine: EngineLatency) -> float:
    return engine.stages["end_to_end"].p50_ms
