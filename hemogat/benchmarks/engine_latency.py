"""Latency of the base preset, engine against engine: what ``hemogat bench latency --preset`` runs.

Everything is measured in one run with interleaved rounds, so that what else the machine does hits
all candidates alike.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from hemogat.benchmarks.authors_way import measure_authors_way
from hemogat.benchmarks.base_models import build_base_models, build_head, write_graphs
from hemogat.benchmarks.engine_candidates import (
    GRAPHS,
    Candidate,
    engine_candidate,
    torch_candidates,
    write_engines,
)
from hemogat.benchmarks.engine_report import (
    BankLatency,
    EngineLatency,
    EngineReport,
    EngineSettings,
    engine_figures,
    engine_notes,
)
from hemogat.benchmarks.latency import Latencies, Stage
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.peak_memory import peak_memory_mib
from hemogat.benchmarks.statistics import summarise
from hemogat.config import GraphConfig
from hemogat.errors import IncompleteError
from hemogat.export.onnx_graphs import export_fusion
from hemogat.export.openvino_ir import convert
from hemogat.progress import Progress
from hemogat.runtime.bundle import GraphName

_STAGES: tuple[Stage, ...] = ("audio_encoder", "text_encoder", "fusion", "end_to_end")
# After a run a library's threads may spin for a while; they must not take cores from the next one.
_PAUSE_S = 0.02


def measure_engines(
    settings: EngineSettings, folder: Path, progress: Progress | None = None
) -> EngineReport:
    """Build the base preset in ``folder`` (some GB), and time every engine that runs here.

    Raises:
        IncompleteError: an engine is not installed.
    """
    progress = progress or Progress()
    watch = RunWatch()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    started = time.perf_counter()
    candidates, skipped = _candidates(settings, folder, progress)
    export_s = time.perf_counter() - started
    latencies = interleaved(candidates, settings, progress)
    with progress.stage("Peak memory", len(candidates)) as bar:
        engines = []
        for candidate, latency in zip(candidates, latencies, strict=True):
            engines.append(_engine(candidate, latency))
            bar.advance(note=candidate.name)
    banks = tuple(
        found
        for rows in settings.larger_banks
        for found in _larger_bank(rows, settings, folder / f"bank-{rows}", progress)
    )
    with progress.stage("The authors' way", undisturbed=True):
        transductive = measure_authors_way(settings.bank_rows, settings.transductive_rounds)
    return EngineReport(
        **watch.facts(),
        settings=settings,
        notes=engine_notes(settings, export_s, engines, skipped, transductive),
        export_s=round(export_s, 1),
        engines=tuple(engines),
        skipped=skipped,
        larger_banks=banks,
        transductive=transductive,
        figures=engine_figures(settings, engines, banks, transductive),
    )


def _candidates(
    settings: EngineSettings, folder: Path, progress: Progress
) -> tuple[list[Candidate], dict[str, str]]:
    with progress.stage("Build the base preset", 5) as bar:
        models = build_base_models(settings.bank_rows)
        onnx = write_graphs(models, folder / "onnx-fp32")
        bar.advance(note="onnx fp32")
        candidates = torch_candidates(models)
        candidates.append(engine_candidate("onnx", "fp32", onnx, settings.threads))
        skipped = {}
        for engine, precision, paths in write_engines(onnx, folder, settings.calibration_samples):
            try:
                candidates.append(engine_candidate(engine, precision, paths, settings.threads))
            except IncompleteError as error:  # bf16 on a processor without it
                skipped[f"{engine}-{precision}"] = str(error).replace(f"{folder}/", "")
            bar.advance(note=f"{engine} {precision}")
    return candidates, skipped


def interleaved(
    candidates: Sequence[Candidate],
    settings: EngineSettings,
    progress: Progress,
    graphs: Sequence[GraphName] = GRAPHS,
) -> list[Latencies]:
    """Run every candidate once per round; end to end is all graphs one after the other."""
    samples: list[dict[Stage, list[float]]] = [{s: [] for s in _STAGES} for _ in candidates]
    rounds = settings.warm_up_rounds + settings.rounds
    with progress.stage("Measure", rounds, undisturbed=True) as bar:
        for number in range(rounds):
            for candidate, collected in zip(candidates, samples, strict=True):
                times_ms = _one_round(candidate, graphs)
                if number >= settings.warm_up_rounds:
                    for stage, time_ms in times_ms.items():
                        collected[stage].append(time_ms)
                time.sleep(_PAUSE_S)
            bar.advance()
    return [{s: summarise(times) for s, times in each.items() if times} for each in samples]


def _one_round(candidate: Candidate, graphs: Sequence[GraphName]) -> dict[Stage, float]:
    feeds = candidate.feeds
    times_ms: dict[Stage, float] = {}
    for graph in graphs:
        started = time.perf_counter()
        found = candidate.runs[graph](feeds[graph])
        times_ms[graph] = 1e3 * (time.perf_counter() - started)
        if graph != "fusion":
            feeds["fusion"] |= found
    times_ms["end_to_end"] = sum(times_ms.values())
    return times_ms


def _engine(candidate: Candidate, latency: Latencies) -> EngineLatency:
    peak = None
    if candidate.engine is not None and candidate.paths is not None:
        peak = peak_memory_mib(candidate.engine, candidate.paths, candidate.feeds)
    return EngineLatency(
        name=candidate.name,
        tokens=candidate.tokens,
        stages=latency,
        size_mib=candidate.size_mib,
        peak_memory_mib=peak,
    )


def _larger_bank(
    rows: int, settings: EngineSettings, folder: Path, progress: Progress
) -> list[BankLatency]:
    """Time the fusion graph alone against a larger bank."""
    with progress.stage(f"Build a bank of {rows}"):
        head, bank = build_head(rows)
        onnx = export_fusion(head, bank, GraphConfig(), folder / "onnx", 20)
        del head, bank
        paths = {"onnx": onnx, "openvino": convert(onnx, folder / "openvino", "fp32")}
    candidates = [
        engine_candidate("onnx", "fp32", {"fusion": paths["onnx"]}, settings.threads),
        engine_candidate("openvino", "fp32", {"fusion": paths["openvino"]}, settings.threads),
    ]
    latencies = interleaved(candidates, settings, progress, ("fusion",))
    return [
        BankLatency(rows=rows, fusion=_engine(candidate, latency))
        for candidate, latency in zip(candidates, latencies, strict=True)
    ]
