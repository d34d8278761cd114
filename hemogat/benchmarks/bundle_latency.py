"""Measuring a bundle: what ``hemogat bench`` runs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from hemogat.benchmarks.bench_server import bench_server
from hemogat.benchmarks.latency import (
    Clip,
    Latencies,
    LatencySettings,
    measure_pipeline,
    measure_triton,
)
from hemogat.benchmarks.latency_report import (
    LatencyReport,
    Spread,
    TritonLatency,
    Workload,
    latency_notes,
    stage_figures,
)
from hemogat.benchmarks.noise import RunWatch
from hemogat.contract import Modality
from hemogat.errors import HemogatError, IncompleteError
from hemogat.progress import Progress
from hemogat.runtime.bundle import SUMS_FILE, Bundle, sha256_of
from hemogat.runtime.golden import golden_cases
from hemogat.runtime.pipeline import Pipeline
from hemogat.serving.client import Client, Protocol
from hemogat.serving.settings import RepositorySettings


def measure_bundle(
    path: Path,
    *,
    clips: Sequence[Clip] | None = None,
    settings: LatencySettings | None = None,
    triton: bool = True,
    progress: Progress | None = None,
) -> LatencyReport:
    """Measure a bundle in process and, with ``triton``, through a server started for that.

    Without a tritonserver on this machine the report holds the rest and says what is missing.

    Args:
        path: the bundle; its hashes are checked.
        clips: what to classify; default: the bundle's golden cases.
        settings: default: the bundle's first engine and precision.
        triton: whether to measure through Triton too.
        progress: draws a bar for each part.

    Raises:
        BundleError: the bundle cannot be used.
        InputError: a clip cannot be used.
        IncompleteError: the engine is not installed.
        ServerError: the server did not start or failed.
        HemogatError: the process that measures died.
    """
    progress, bundle = progress or Progress(), Bundle.open(path)
    if settings is None:
        engine, precision = bundle.select()
        settings = LatencySettings(engine=engine, precision=precision)
    clips = golden_clips(bundle) if clips is None else clips
    watch = RunWatch()
    with progress.stage("Measure in process", undisturbed=True):
        in_process, workload = _in_fresh_process(path, tuple(clips), settings)
    served, missing = None, None
    if triton:
        try:
            served = _through_triton(path, clips, settings, progress)
        except IncompleteError as error:
            missing = str(error)
    return LatencyReport(
        **watch.facts(),
        title=f"Latency of {bundle.manifest.name}, {settings.engine}-{settings.precision}",
        bundle=bundle.manifest.name,
        bundle_sha256=sha256_of(path / SUMS_FILE),
        settings=settings,
        workload=workload,
        notes=latency_notes(settings, workload, served, missing),
        in_process=in_process,
        triton=served,
        triton_missing=missing,
        figures=stage_figures(settings, in_process, served),
    )


def _in_fresh_process(
    path: Path, clips: tuple[Clip, ...], settings: LatencySettings
) -> tuple[Latencies, Workload]:
    """Measure in a process of its own: this one has loaded more than a pipeline needs."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_in_process, path, clips, settings).result()
        except BrokenProcessPool as error:
            raise HemogatError(
                f"{path}: the process that measured it died; is there memory enough?"
            ) from error


def _in_process(
    path: Path, clips: tuple[Clip, ...], settings: LatencySettings
) -> tuple[Latencies, Workload]:
    pipeline = Pipeline(
        Bundle.open(path, verify=False),  # the process that started this one has
        engine=settings.engine,
        precision=settings.precision,
        threads=settings.threads,
    )
    return measure_pipeline(pipeline, clips, settings), describe_workload(pipeline, clips)


def golden_clips(bundle: Bundle) -> list[Clip]:
    """Return the golden cases with every modality that the head reads; if none has, all."""

    def complete(clip: Clip) -> bool:
        there: dict[Modality, object] = {"audio": clip.audio, "text": clip.text}
        return all(there[modality] is not None for modality in bundle.manifest.modalities)

    clips = [Clip(case.audio, case.text) for case in golden_cases(bundle)]
    return [clip for clip in clips if complete(clip)] or clips


def describe_workload(pipeline: Pipeline, clips: Sequence[Clip]) -> Workload:
    """Count what the encoders get of each clip."""
    prepared = [pipeline.preprocessor.prepare(clip.audio, clip.text) for clip in clips]
    return Workload(
        clips=len(clips),
        windows=_spread([len(u.windows) for u in prepared if u.windows is not None]),
        tokens=_spread([len(u.tokens.input_ids) for u in prepared if u.tokens is not None]),
        bank_rows=pipeline.bundle.manifest.bank.rows,
    )


def _spread(counts: list[int]) -> Spread | None:
    if not counts:
        return None
    return Spread(smallest=min(counts), median=float(np.median(counts)), largest=max(counts))


def _through_triton(
    bundle: Path, clips: Sequence[Clip], settings: LatencySettings, progress: Progress
) -> TritonLatency:
    repository_settings = RepositorySettings(
        engine=settings.engine, precision=settings.precision, threads=settings.threads
    )
    with ExitStack() as stack:
        server = stack.enter_context(bench_server(bundle, repository_settings, progress))
        clients: dict[Protocol, Client] = {
            "grpc": stack.enter_context(Client(server.grpc_url, "grpc")),
            "http": stack.enter_context(Client(server.http_url, "http")),
        }
        return TritonLatency(
            version=server.server_version(),
            stages=measure_triton(clients, clips, settings, progress),
        )
