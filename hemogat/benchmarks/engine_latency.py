"""Latency of the base preset, engine against engine: what ``hemogat bench latency --preset`` runs.

Everything is measured in one run with interleaved rounds, so that what else the machine does hits
all candidates alike.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hemogat.benchmarks.authors_way import measure_authors_way
from hemogat.benchmarks.base_models import build_base_models, build_head, write_graphs
from hemogat.benchmarks.bootstrap import median_interval, paired_ratios
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
    SpeedUp,
    engine_figures,
    engine_notes,
)
from hemogat.benchmarks.findings import wide_medians
from hemogat.benchmarks.latency import Latencies, Stage
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.outside_candidates import outside_candidates
from hemogat.benchmarks.peak_memory import peak_memory_mib
from hemogat.benchmarks.statistics import summarise
from hemogat.config import GraphConfig
from hemogat.errors import IncompleteError
from hemogat.export.onnx_graphs import export_fusion
from hemogat.export.openvino_ir import convert
from hemogat.progress import Progress
from hemogat.runtime.bundle import GraphName

# After a run a library's threads may spin for a while; they must not take cores from the next one.
_PAUSE_S = 0.02
_ROUNDS_BETWEEN_CHECKS = 10
_STRETCHES = 5
Samples = dict[Stage, list[float]]  # ms, a number for each round


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
    candidates, outside, skipped = _candidates(settings, folder, progress)
    export_s = time.perf_counter() - started
    samples = interleaved(candidates, settings, progress)
    with progress.stage("Peak memory", len(candidates)) as bar:
        engines = []
        for candidate, times in zip(candidates, samples, strict=True):
            engines.append(_engine(candidate, times, samples[0]))
            bar.advance(note=candidate.name)
    inside = [
        replace(candidate, name=f"{candidate.name}, bank inside the graph")
        for candidate in candidates
        if candidate.paths is not None
    ]
    larger = (
        found
        for rows in settings.larger_banks
        for found in _larger_bank(rows, settings, folder / f"bank-{rows}", progress)
    )
    banks = (*_fusion_alone(settings.bank_rows, [*inside, *outside], settings, progress), *larger)
    with progress.stage("The authors' way", undisturbed=True):
        transductive = measure_authors_way(settings.bank_rows, settings.transductive_rounds)
    figures = engine_figures(settings, engines, banks, transductive)
    notes = engine_notes(settings, export_s, engines, skipped, transductive)
    return EngineReport(
        **watch.facts(),
        settings=settings,
        notes=(*notes, *wide_medians(figures, settings.half_width)),
        export_s=round(export_s, 1),
        engines=tuple(engines),
        skipped=skipped,
        larger_banks=banks,
        transductive=transductive,
        figures=figures,
    )


def _candidates(
    settings: EngineSettings, folder: Path, progress: Progress
) -> tuple[list[Candidate], list[Candidate], dict[str, str]]:
    """Return the engines, the fusion step with its bank outside the graph, and what cannot run."""
    with progress.stage("Build the base preset", 6) as bar:
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
        outside = []
        try:
            outside = outside_candidates(models, onnx["fusion"], folder, settings.threads)
        except IncompleteError as error:
            skipped["bank searched outside the graph"] = str(error)
        bar.advance(note="bank outside the graph")
    return candidates, outside, skipped


def interleaved(
    candidates: Sequence[Candidate],
    settings: EngineSettings,
    progress: Progress,
    graphs: Sequence[GraphName] = GRAPHS,
) -> list[Samples]:
    """Run every candidate once per round; end to end is all graphs one after the other.

    After ``settings.rounds`` there are more, until all medians are known or their time is up.
    """
    stages: tuple[Stage, ...] = (*graphs, "end_to_end")
    samples: list[Samples] = [{stage: [] for stage in stages} for _ in candidates]
    with progress.stage("Measure", settings.rounds, undisturbed=True) as bar:
        for _ in range(settings.warm_up_rounds):
            _take_turns(candidates, graphs)
        started, rounds = time.perf_counter(), 0
        while rounds < settings.rounds or not (
            time.perf_counter() - started > settings.limit_s
            or _known(samples, rounds - settings.rounds, settings.half_width)
        ):
            for collected, times_ms in zip(samples, _take_turns(candidates, graphs), strict=True):
                for stage, time_ms in times_ms.items():
                    collected[stage].append(time_ms)
            rounds += 1
            if rounds <= settings.rounds:
                bar.advance()
    return samples


def _take_turns(
    candidates: Sequence[Candidate], graphs: Sequence[GraphName]
) -> list[dict[Stage, float]]:
    found = []
    for candidate in candidates:
        found.append(_one_round(candidate, graphs))
        time.sleep(_PAUSE_S)
    return found


def _known(samples: Sequence[Samples], further_rounds: int, half_width: float) -> bool:
    """Say whether all medians are known well enough; looks only now and then."""
    if further_rounds % _ROUNDS_BETWEEN_CHECKS:
        return False
    every = (times_ms for each in samples for times_ms in each.values())
    return all(median_interval(_stretches(times_ms)).half_width <= half_width for times_ms in every)


def _stretches(times_ms: Sequence[float]) -> list[NDArray[np.float64]]:
    """Return rounds of one run each in consecutive parts, which stand for epochs."""
    return np.array_split(np.array(times_ms)[:, np.newaxis], _STRETCHES)


def summaries(samples: Mapping[Stage, Sequence[float]]) -> Latencies:
    """Summarise each stage; the median's interval is over rounds in their order."""
    found: Latencies = {}
    for stage, times_ms in samples.items():
        median = median_interval(_stretches(times_ms))
        bounds = {"p50_low_ms": median.low, "p50_high_ms": median.high}
        found[stage] = summarise(times_ms).model_copy(update=bounds)
    return found


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


def _engine(candidate: Candidate, samples: Samples, first: Samples | None = None) -> EngineLatency:
    """Describe an engine; ``first``: whose times its own are compared with, round by round."""
    peak = None
    if candidate.engine is not None and candidate.paths is not None:
        peak = peak_memory_mib(candidate.engine, candidate.paths, candidate.feeds)
    return EngineLatency(
        name=candidate.name,
        tokens=candidate.tokens,
        stages=summaries(samples),
        speed_ups={} if first is None or first is samples else _speed_ups(first, samples),
        size_mib=candidate.size_mib,
        peak_memory_mib=peak,
    )


def _speed_ups(first: Samples, samples: Samples) -> dict[Stage, SpeedUp]:
    found = {}
    for stage, times_ms in samples.items():
        ratio = median_interval(paired_ratios(_stretches(first[stage]), _stretches(times_ms)))
        found[stage] = SpeedUp(value=ratio.value, low=ratio.low, high=ratio.high)
    return found


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
    return _fusion_alone(rows, candidates, settings, progress)


def _fusion_alone(
    rows: int, candidates: Sequence[Candidate], settings: EngineSettings, progress: Progress
) -> list[BankLatency]:
    """Time the graph and fusion step, no encoder between two runs."""
    samples = interleaved(candidates, settings, progress, ("fusion",))
    return [
        BankLatency(rows=rows, fusion=_engine(candidate, times))
        for candidate, times in zip(candidates, samples, strict=True)
    ]
