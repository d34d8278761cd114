"""A server under load: what ``hemogat bench serve`` runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemogat.benchmarks.arrivals import poisson_arrivals
from hemogat.benchmarks.bench_server import bench_server
from hemogat.benchmarks.bundle_latency import describe_workload, golden_clips
from hemogat.benchmarks.load_drivers import Run, Send, closed_loop, open_loop, play_streams
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.server_counters import MemoryUse, ServerMemory, counted_between
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
from hemogat.serving.client import Client
from hemogat.serving.settings import RepositorySettings

_THIRDS = 3

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
        IncompleteError: the engine, tritonclient or a tritonserver is missing.
        ServerError: the server did not start or failed, or serves another bundle.
    """
    settings, progress = settings or LoadSettings(), progress or Progress()
    bundle = Bundle.open(path)
    clips = golden_clips(bundle)
    watch = RunWatch()
    pipeline = Pipeline(
        bundle, engine=settings.engine, precision=settings.precision, threads=settings.threads
    )
    utterances = [(c.audio.read_bytes() if c.audio else None, c.text) for c in clips]
    with _server(path, url, settings, progress) as target:
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
        notes=load_notes(settings, workload, version, comparison, levels),
        server=version,
        comparison=comparison,
        levels=tuple(levels),
        figures=load_figures(comparison, levels),
    )


@dataclass(frozen=True)
class _Target:
    """The server that is measured; ``memory`` is None when it is not ours."""

    url: str
    client: Client
    memory: ServerMemory | None


@contextmanager
def _server(
    path: Path, url: str | None, settings: LoadSettings, progress: Progress
) -> Iterator[_Target]:
    with ExitStack() as stack:
        memory = None
        if url is None:
            repository_settings = RepositorySettings(
                engine=settings.engine, precision=settings.precision, threads=settings.threads
            )
            server = stack.enter_context(bench_server(path, repository_settings, progress))
            url = server.grpc_url
            assert server.pid is not None
            memory = ServerMemory(server.pid)
        client = stack.enter_context(Client(url, "grpc"))
        served = client.model_facts().bundle_sums
        if served != sha256_of(path / SUMS_FILE):
            raise ServerError(
                f"{url}: serves another bundle than {path}; name the bundle that it serves"
            )
        yield _Target(url, client, memory)


class _LoadBench:
    """Puts one load after the other on a server."""

    def __init__(
        self,
        target: _Target,
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
                batches_ms = self._in_process(settings.compare_batch, settings.compare_s)
                in_process_per_s.append(
                    1e3 * settings.compare_batch * len(batches_ms) / sum(batches_ms)
                )
                many = self._run(self._closed(settings.compare_batch, settings.compare_s))
                served_per_s.append(_answered_per_s(many))
                bar.advance()
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
        shares = settings.capacity_shares if found else ()
        for rate_per_s, share in rates + [(s * capacity_per_s, s) for s in shares]:
            load = self._open(rate_per_s, settings.duration_s)
            warm_up = self._open(rate_per_s, settings.warm_up_s)
            level = self._level("open loop", rate_per_s, load, warm_up)
            found.append(level.model_copy(update={"capacity_share": share}))
        if settings.streams and "audio" in self._pipeline.bundle.manifest.modalities:
            load = self._streams(settings.duration_s)
            warm_up = self._streams(settings.warm_up_s)
            found.append(self._level("streams", settings.streams, load, warm_up))
        return found

    def _level(self, kind: LoadKind, offered: float, load: Load, warm_up: Load) -> LoadLevel:
        client, memory = self._target.client, self._target.memory
        with self._progress.stage(f"{kind}, {offered:.4g}", undisturbed=True):
            self._run(warm_up)
            before, before_mib = client.statistics(), memory and memory.read_mib()
            run = self._run(load)
            after = client.statistics()
        answered = [s for s in run.samples if s.error is None]
        errors = [s.error for s in run.samples if s.error is not None]
        error_ms = [s.latency_ms for s in run.samples if s.error is not None]
        last_due_s = max((s.due_s for s in run.samples), default=0.0)
        thirds: list[list[float]] = [[] for _ in range(_THIRDS)]
        for sample in answered:
            third = int(_THIRDS * sample.due_s / last_due_s) if last_due_s else 0
            thirds[min(third, _THIRDS - 1)].append(sample.latency_ms)
        return LoadLevel(
            kind=kind,
            offered=offered,
            duration_s=run.duration_s,
            answered_per_s=_answered_per_s(run),
            latency=summarise([s.latency_ms for s in answered]) if answered else None,
            p50_by_third_ms=tuple(float(np.median(third)) for third in thirds if third),
            errors={status: errors.count(status) for status in sorted(set(errors))},
            error_latency=summarise(error_ms) if error_ms else None,
            models=counted_between(before, after),
            memory=None
            if memory is None or before_mib is None
            else MemoryUse(
                before_mib=before_mib, peak_mib=memory.peak_mib, after_mib=memory.read_mib()
            ),
        )

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


def _answered_per_s(run: Run) -> float:
    return sum(sample.error is None for sample in run.samples) / run.duration_s
