"""A server under load: what ``hemogat bench serve`` runs."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemogat.benchmarks.arrivals import poisson_arrivals
from hemogat.benchmarks.bench_server import MeasuredServer, measured_server
from hemogat.benchmarks.bundle_latency import describe_workload, golden_clips
from hemogat.benchmarks.load_drivers import Run, Send, closed_loop, open_loop, play_streams
from hemogat.benchmarks.load_levels import answered_per_s, load_level
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.server_counters import counted_between
from hemogat.benchmarks.serving_load_figures import load_figures, load_notes
from hemogat.benchmarks.serving_load_report import (
    Comparison,
    LoadKind,
    LoadLevel,
    LoadReport,
    LoadSettings,
)
from hemogat.benchmarks.statistics import summarise
from hemogat.data.audio import decode_audio
from hemogat.errors import ServerError
from hemogat.progress import Progress
from hemogat.runtime.bundle import SUMS_FILE, Bundle, sha256_of
from hemogat.runtime.pipeline import Pipeline
from hemogat.serving.async_client import AsyncClient

Utterance = tuple[bytes | None, str | None]
Load = Callable[[AsyncClient], Awaitable[Run]]


def measure_serving_load(
    path: Path,
    *,
    url: str | None = None,
    settings: LoadSettings | None = None,
    progress: Progress | None = None,
) -> LoadReport:
    """Compare a bundle's server with the pipeline in process, and put load on it.

    Args:
        path: the bundle; its golden cases are the utterances.
        url: gRPC address of a server that serves it already; default: one started for this.
        settings: default: ``LoadSettings()``.
        progress: draws a bar for each part.

    Raises:
        BundleError: the bundle cannot be used.
        ConfigError: the server at ``url`` has not the engine that is asked for.
        IncompleteError: the engine, tritonclient or a tritonserver is missing.
        ServerError: the server did not start or failed, or serves another bundle.
    """
    settings, progress = settings or LoadSettings(), progress or Progress()
    bundle = Bundle.open(path)
    clips = golden_clips(bundle)
    watch = RunWatch()
    utterances = [(c.audio.read_bytes() if c.audio else None, c.text) for c in clips]
    wanted = (settings.engine, settings.precision, settings.threads)
    with measured_server(bundle, url, wanted, progress) as target:
        served = target.served
        settings = settings.model_copy(update=asdict(served))
        pipeline = Pipeline(
            bundle, engine=served.engine, precision=served.precision, threads=served.threads
        )
        bench = _LoadBench(target, pipeline, utterances, settings, progress)
        comparison = bench.compare()
        levels = bench.levels()
        version = target.client.server_version()
    workload = describe_workload(pipeline, clips)
    return LoadReport(
        **watch.facts(),
        title=f"{bundle.manifest.name} under load, {settings.engine}-{settings.precision}",
        bundle=bundle.manifest.name,
        bundle_sha256=sha256_of(path / SUMS_FILE),
        settings=settings,
        workload=workload,
        notes=load_notes(settings, workload, version, comparison, levels, ours=url is None),
        server=version,
        comparison=comparison,
        levels=tuple(levels),
        figures=load_figures(comparison, levels),
    )


class _LoadBench:
    """Puts one load after the other on a server."""

    def __init__(
        self,
        target: MeasuredServer,
        pipeline: Pipeline,
        utterances: Sequence[Utterance],
        settings: LoadSettings,
        progress: Progress,
    ) -> None:
        self._target = target
        self._pipeline = pipeline
        self._utterances = utterances
        self._settings = settings
        self._progress = progress

    def compare(self) -> Comparison:
        """Let the pipeline and the server take turns."""
        settings = self._settings
        alone: list[float] = []
        through: list[float] = []
        failed: Counter[str] = Counter()
        in_process_per_s, served_per_s = [], []
        with self._progress.stage(
            "Compare with in process", settings.compare_rounds, undisturbed=True
        ) as bar:
            self._in_process(1, settings.warm_up_s)
            self._run(self._closed(settings.compare_batch, settings.warm_up_s))
            for _ in range(settings.compare_rounds):
                alone += self._in_process(1, settings.compare_s)
                one = self._run(self._closed(1, settings.compare_s))
                through += [sample.latency_ms for sample in one.samples if sample.error is None]
                failed.update(sample.error for sample in one.samples if sample.error is not None)
                batches_ms = self._in_process(settings.compare_batch, settings.compare_s)
                in_process_per_s.append(
                    1e3 * settings.compare_batch * len(batches_ms) / sum(batches_ms)
                )
                many = self._run(self._closed(settings.compare_batch, settings.compare_s))
                served_per_s.append(answered_per_s(many))
                bar.advance()
        if not through:
            told = ", ".join(f"{count} {status}" for status, count in failed.items())
            raise ServerError(
                f"{self._target.url}: answered none of the requests sent one at a time "
                f"({told or 'none came back in time'}); mend the server, or wait until it is idle"
            )
        return Comparison(
            in_process=summarise(alone),
            served=summarise(through),
            batch=settings.compare_batch,
            in_process_per_s=tuple(in_process_per_s),
            served_per_s=tuple(served_per_s),
        )

    def levels(self) -> list[LoadLevel]:
        """Run the closed loops, the open loops and the streams."""
        settings = self._settings
        found = []
        for concurrency in settings.concurrency:
            load = self._closed(concurrency, settings.duration_s)
            warm_up = self._closed(concurrency, settings.warm_up_s)
            found.append(self._level("closed loop", concurrency, load, warm_up))
        capacity_per_s = max((level.answered_per_s for level in found), default=0.0)
        rates: list[tuple[float, float | None]] = [(rate, None) for rate in settings.rates_per_s]
        shares = settings.capacity_shares if capacity_per_s else ()
        for rate_per_s, share in rates + [(s * capacity_per_s, s) for s in shares]:
            over = share is not None and share > 1
            load = self._open(rate_per_s, (over and settings.overload_s) or settings.duration_s)
            warm_up = self._open(rate_per_s, settings.warm_up_s)
            level = self._level("open loop", rate_per_s, load, warm_up)
            found.append(level.model_copy(update={"capacity_share": share}))
        if settings.streams and "audio" in self._pipeline.bundle.manifest.modalities:
            load = self._streams(settings.stream_s or settings.duration_s)
            warm_up = self._streams(settings.warm_up_s)
            found.append(self._level("streams", settings.streams, load, warm_up))
        return found

    def _level(self, kind: LoadKind, offered: float, load: Load, warm_up: Load) -> LoadLevel:
        client, memory = self._target.client, self._target.memory
        with self._progress.stage(f"{kind}, {offered:.4g}", undisturbed=True):
            self._run(warm_up)
            before, before_mib = client.statistics(), memory.read_mib() if memory else 0.0
            run = self._run(load)
            models = counted_between(before, client.statistics())
        return load_level(kind, offered, run, models, memory.used(before_mib) if memory else None)

    def _run(self, load: Load) -> Run:
        async def run() -> Run:
            memory = self._target.memory
            async with AsyncClient(self._target.url, "grpc", retries=0) as client:
                await client.model_facts()
                with memory.watched() if memory else nullcontext():
                    return await load(client)

        return asyncio.run(run())

    def _closed(self, concurrency: int, duration_s: float) -> Load:
        return lambda client: closed_loop(self._send(client), concurrency, duration_s)

    def _open(self, rate_per_s: float, duration_s: float) -> Load:
        arrivals_s = poisson_arrivals(rate_per_s, duration_s, self._settings.seed)
        return lambda client: open_loop(self._send(client), arrivals_s)

    def _streams(self, duration_s: float) -> Load:
        settings, samples = self._settings, self._speech(duration_s)
        return lambda client: play_streams(client, samples, settings.streams, settings.chunk_ms)

    def _send(self, client: AsyncClient) -> Send:
        utterances = self._utterances
        return lambda number: client.predict(*utterances[number % len(utterances)])

    def _in_process(self, batch: int, duration_s: float) -> list[float]:
        """Return the time of each call with ``batch`` utterances, ms."""
        times_ms: list[float] = []
        utterances, number = self._utterances, 0
        deadline = time.perf_counter() + duration_s
        while (started := time.perf_counter()) < deadline:
            chosen = [utterances[(number + n) % len(utterances)] for n in range(batch)]
            self._pipeline([audio for audio, _ in chosen], [text for _, text in chosen])
            times_ms.append(1e3 * (time.perf_counter() - started))
            number += batch
        return times_ms

    def _speech(self, duration_s: float) -> NDArray[np.float32]:
        """Return the clips one after the other, repeated to ``duration_s``."""
        config = self._pipeline.bundle.manifest.audio
        clips = [decode_audio(audio, config, name="clip") for audio, _ in self._utterances if audio]
        return np.resize(np.concatenate(clips), int(duration_s * config.sample_rate_hz))
