"""Latency of single utterances, stage by stage: in process, and through a Triton server."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Literal, TypeVar, get_args

from hemogat.benchmarks.statistics import LatencySummary, summarise
from hemogat.config import PositiveInt, Settings
from hemogat.contract import GRAPHS, triton_model_name
from hemogat.errors import InputError, ServerError
from hemogat.progress import Progress
from hemogat.runtime.bundle import Engine, Precision
from hemogat.runtime.fusion_inputs import Embedding
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.preprocess import PreparedUtterance
from hemogat.serving.client import Client, Protocol

# decode: audio file to windows; fusion: bank search and head; end_to_end: file and text in,
# prediction out.
Stage = Literal["decode", "tokenise", "audio_encoder", "text_encoder", "fusion", "end_to_end"]
STAGES: tuple[Stage, ...] = get_args(Stage)
Latencies = dict[Stage, LatencySummary]
# Answers that a server has counted and the time they took, by stage.
_Counted = dict[Stage, tuple[int, float]]

_STATISTICS_WAIT_S = 5.0
_STATISTICS_POLL_S = 0.002
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Clip:
    """What one call is given."""

    audio: Path | None
    text: str | None


class LatencySettings(Settings):
    """What to run and how often.

    ``utterances`` are measured, one at a time, the clips taking turns; before that every clip
    that will be measured runs ``warm_up_rounds`` times. ``threads``: how many one graph may use;
    None: as many as there are cores.
    """

    engine: Engine = "onnx"
    precision: Precision = "fp32"
    threads: PositiveInt | None = None
    utterances: PositiveInt = 200
    warm_up_rounds: PositiveInt = 2


def measure_pipeline(
    pipeline: Pipeline,
    clips: Sequence[Clip],
    settings: LatencySettings,
    progress: Progress | None = None,
) -> Latencies:
    """Time every stage of ``pipeline`` and, in calls of their own, the whole.

    A stage that a clip does not need (its modality is absent, or the head does not read it) has
    no sample from that clip, and is left out when none needs it. ``settings`` says how often to
    run; engine, precision and threads are those that the pipeline was loaded with.

    Raises:
        InputError: there are no clips, or one cannot be used.
    """
    read = pipeline.bundle.manifest.modalities
    needed = [
        Clip(c.audio if "audio" in read else None, c.text if "text" in read else None)
        for c in clips
    ]
    warm_up, measured = _schedule(needed, settings)
    progress = progress or Progress()
    with progress.stage("Measure in process", len(measured), undisturbed=True) as bar:
        for clip in warm_up:
            _run_whole_and_stages(pipeline, clip, _Stopwatch())
        watch = _Stopwatch()
        for clip in measured:
            _run_whole_and_stages(pipeline, clip, watch)
            bar.advance()
    return watch.summaries()


def measure_triton(
    clients: Mapping[Protocol, Client],
    clips: Sequence[Clip],
    settings: LatencySettings,
    progress: Progress | None = None,
) -> dict[Protocol, Latencies]:
    """Time requests of one utterance, one after the other, the protocols taking turns.

    ``end_to_end`` is what the client waits, reading the file and sending it included. The other
    stages come from the server's own statistics: how long each model had the request, its queue
    included. The encoders work at the same time, so stages do not add up to the whole.

    Raises:
        InputError: there are no clips, or the server cannot use one.
        ServerError: the server cannot be reached or failed.
    """
    warm_up, measured = _schedule(clips, settings)
    watches = {protocol: _Stopwatch() for protocol in clients}
    progress = progress or Progress()
    with progress.stage("Measure through Triton", len(measured), undisturbed=True) as bar:
        for clip in warm_up:
            for client in clients.values():
                _request(client, clip, _Stopwatch())
        for clip in measured:
            for protocol, client in clients.items():
                _request(client, clip, watches[protocol])
            bar.advance()
    return {protocol: watch.summaries() for protocol, watch in watches.items()}


class _Stopwatch:
    """Collects times by stage."""

    def __init__(self) -> None:
        self._samples_ms: dict[Stage, list[float]] = defaultdict(list)

    def add(self, stage: Stage, sample_ms: float) -> None:
        self._samples_ms[stage].append(sample_ms)

    @contextmanager
    def time(self, stage: Stage) -> Iterator[None]:
        started_ns = time.perf_counter_ns()
        yield
        self.add(stage, (time.perf_counter_ns() - started_ns) / 1e6)

    def summaries(self) -> Latencies:
        samples_ms = self._samples_ms
        return {stage: summarise(samples_ms[stage]) for stage in STAGES if stage in samples_ms}


def _schedule(clips: Sequence[_Item], settings: LatencySettings) -> tuple[list[_Item], list[_Item]]:
    """Return the warm-up and the measured calls; clips take turns, so drift hits all alike."""
    if not clips:
        raise InputError("no clips to measure with; expected at least one")
    measured = list(islice(cycle(clips), settings.utterances))
    return list(measured[: len(clips)]) * settings.warm_up_rounds, measured


def _run_whole_and_stages(pipeline: Pipeline, clip: Clip, watch: _Stopwatch) -> None:
    with watch.time("end_to_end"):
        pipeline(clip.audio, clip.text)
    windows = tokens = None
    audio: list[Embedding | None] = [None]
    text: list[Embedding | None] = [None]
    if clip.audio is not None:
        with watch.time("decode"):
            windows = pipeline.preprocessor.decode(clip.audio)
    if clip.text is not None:
        with watch.time("tokenise"):
            tokens = pipeline.preprocessor.tokenise(clip.text)
    utterance = PreparedUtterance(windows, tokens)
    if windows is not None:
        with watch.time("audio_encoder"):
            audio = pipeline.embed_audio([utterance])
    if tokens is not None:
        with watch.time("text_encoder"):
            text = pipeline.embed_text([utterance])
    with watch.time("fusion"):
        pipeline.fuse([(audio[0], text[0])])


def _request(client: Client, clip: Clip, watch: _Stopwatch) -> None:
    before = _counted(client)
    with watch.time("end_to_end"):
        client.predict(clip.audio, clip.text)
    after = _counted_anew(client, before)
    for stage, (count, total_ms) in after.items():
        if count > before[stage][0]:
            watch.add(stage, total_ms - before[stage][1])


def _counted(client: Client) -> _Counted:
    models = client.statistics()
    counted: _Counted = {}
    for stage in STAGES:
        if stage in GRAPHS:
            model = models[triton_model_name(stage)]
            counted[stage] = (model.requests, model.total_ms)
    return counted


def _counted_anew(client: Client, before: _Counted) -> _Counted:
    """Wait until the request that was answered is counted, which happens after its answer.

    Fusion is a request's last stage, so when that is counted the others are.
    """
    deadline = time.monotonic() + _STATISTICS_WAIT_S
    while (after := _counted(client))["fusion"][0] == before["fusion"][0]:
        if time.monotonic() > deadline:
            raise ServerError(
                f"the server answered a request and did not count it in {_STATISTICS_WAIT_S:g} s; "
                f"expected statistics of {triton_model_name('fusion')} to grow"
            )
        time.sleep(_STATISTICS_POLL_S)
    return after
