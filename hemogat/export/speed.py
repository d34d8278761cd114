"""How fast an exported engine is beside torch: one utterance at a time, taking turns."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hemogat.data.audio import cut_windows
from hemogat.export.parity import Reference, ReferenceAnswers, embedding_pairs
from hemogat.runtime.bundle import GraphName
from hemogat.runtime.parity_report import ComponentLatency
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.preprocess import PreparedUtterance
from hemogat.training.features import embed_samples, embed_texts
from hemogat.training.preparation import PreparedRow

_ITEMS = 20  # different utterances
_ROUNDS = 40
_LEAST_ROUNDS = 12
_MOST_S = 5.0  # per graph
_WARM_UP = 3
_Call = Callable[[int], object]


@torch.no_grad()
def component_latency(
    pipeline: Pipeline,
    reference: Reference,
    rows: Sequence[PreparedRow],
    expected: ReferenceAnswers,
) -> tuple[ComponentLatency, ...]:
    """Time each graph on the same few utterances, in the engine and in torch eager fp32.

    A first impression for the table of an export; ``hemogat bench`` measures properly. A graph
    that no utterance has an input for is left out.
    """
    window_samples = pipeline.bundle.manifest.audio.window_samples
    clips = [row.samples for row in rows if row.samples is not None][:_ITEMS]
    heard = [PreparedUtterance(cut_windows(clip, window_samples), None) for clip in clips]
    texts = [row.tokens for row in rows if row.tokens is not None][:_ITEMS]
    written = [PreparedUtterance(None, tokens) for tokens in texts]
    e = expected.embeddings[:_ITEMS]
    pairs = embedding_pairs(e)
    alone = [e[n : n + 1] for n in range(len(e))]
    audio, text, head = reference.audio_encoder, reference.text_encoder, reference.head
    turns = []
    if audio is not None and clips:
        turns.append(
            _taking_turns(
                *("audio_encoder", len(clips)),
                here=lambda n: pipeline.embed_audio([heard[n]]),
                there=lambda n: embed_samples(audio, [clips[n]], window_samples),
            )
        )
    if text is not None and texts:
        turns.append(
            _taking_turns(
                *("text_encoder", len(texts)),
                here=lambda n: pipeline.embed_text([written[n]]),
                there=lambda n: embed_texts(text, [texts[n]]),
            )
        )
    turns.append(
        _taking_turns(
            *("fusion", len(pairs)),
            here=lambda n: pipeline.fuse([pairs[n]]),
            there=lambda n: head(alone[n].audio, alone[n].text, alone[n].present),
        )
    )
    return tuple(turns)


def load_per_core() -> float:
    """Return how many processes have wanted each core within the last minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def _taking_turns(graph: GraphName, items: int, *, here: _Call, there: _Call) -> ComponentLatency:
    """Time both calls on each item in turn, so that what else the machine does meets both."""
    calls = (here, there)
    for n in range(min(items, _WARM_UP)):
        for call in calls:
            call(n)
    times_ms: tuple[list[float], list[float]] = ([], [])
    started = time.perf_counter()
    for number in range(_ROUNDS):
        for who in (0, 1) if number % 2 else (1, 0):
            before = time.perf_counter()
            calls[who](number % items)
            times_ms[who].append(1e3 * (time.perf_counter() - before))
        if number + 1 >= _LEAST_ROUNDS and time.perf_counter() - started > _MOST_S:
            break
    exported, torch_own = (np.sort(taken) for taken in times_ms)
    return ComponentLatency(
        graph=graph,
        p50_ms=float(np.median(exported)),
        torch_p50_ms=float(np.median(torch_own)),
        interval_ms=_interval(exported),
        torch_interval_ms=_interval(torch_own),
        rounds=len(exported),
    )


def _interval(ordered: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the median, by ranks."""
    half = 0.98 * len(ordered) ** 0.5  # of the binomial distribution, 1.96 standard deviations
    low, high = int(len(ordered) / 2 - half), int(np.ceil(len(ordered) / 2 + half))
    return float(ordered[max(low, 0)]), float(ordered[min(high, len(ordered) - 1)])
