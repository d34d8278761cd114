"""Latency of the base preset, engine against engine: what ``hemogat bench latency --preset`` runs.

Everything takes turns in one measurement but the authors' way, which takes seconds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from hemogat.benchmarks.authors_way import TransductiveLatency, measure_authors_way
from hemogat.benchmarks.engine_candidates import engine_entries
from hemogat.benchmarks.engine_report import CASES, EngineReport, EngineSettings
from hemogat.benchmarks.epochs import SideBySideSettings
from hemogat.benchmarks.figures import P50, Figure
from hemogat.benchmarks.findings import Findings
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.side_by_side import measure_side_by_side
from hemogat.progress import Progress


def measure_engines(
    settings: EngineSettings, folder: Path, progress: Progress | None = None
) -> EngineReport:
    """Build the base preset in ``folder`` (some GB), and time every engine that runs here.

    Raises:
        IncompleteError: what an export needs is not installed.
    """
    progress, watch, found = progress or Progress(), RunWatch(), Findings()
    started = time.perf_counter()
    entries = engine_entries(settings, folder, progress)
    export_s = time.perf_counter() - started
    side_by_side = SideBySideSettings(
        cases=CASES, threads=(settings.threads,), rounds=settings.rounds
    )
    found.add(measure_side_by_side(entries, side_by_side, progress))
    with progress.stage("The authors' way", undisturbed=True):
        paths = measure_authors_way(
            settings.bank_rows, settings.transductive_rounds, settings.threads
        )
    found.figures += paths.figures()
    return EngineReport(
        settings=settings,
        notes=(*_method(settings, export_s), *_beside_fusion(paths, found.figures), *found.told()),
        export_s=round(export_s, 1),
        figures=tuple(found.figures),
        series=tuple(found.series),
        models=tuple(found.models),
        **watch.facts(),
    )


def _method(settings: EngineSettings, export_s: float) -> list[str]:
    threads = "as many threads as cores" if settings.threads is None else f"{settings.threads}"
    return [
        f"random weights of wav2vec2-base and BERT-base; arrays in, 1 window of 1 s, 16 tokens; "
        f"bank of {settings.bank_rows} rows; threads per graph: {threads}",
        settings.rounds.in_words(),
        "speed_up: over what the axis names; size of torch: of its parameters and its bank; "
        "start-up: in the first epochs, where processes start one by one; of torch: it makes its "
        "weights, where engines load theirs",
        f"int8 calibrated on {settings.calibration_samples} samples; building all engines took "
        f"{export_s:.0f} s",
    ]


def _beside_fusion(paths: TransductiveLatency, figures: Sequence[Figure]) -> list[str]:
    """Compare the transductive paths with the fastest fusion graph of the same bank."""
    fusion_ms = min(
        figure.value
        for figure in figures
        if figure.metric == P50
        and figure.axes.get("component") == "fusion"
        and figure.axes.get("bank_rows") == paths.nodes - 1
    )
    authors, ours = paths.authors_total.p50_ms / fusion_ms, paths.ours_total.p50_ms / fusion_ms
    return [
        f"one new utterance among {paths.nodes} nodes: the authors' way takes {authors:.0f} "
        f"times as long as the fastest fusion graph here, our transductive path {ours:.0f} times"
    ]
