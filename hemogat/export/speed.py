"""How fast an exported engine is beside torch: one utterance at a time, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

from hemogat.data.audio import cut_windows
from hemogat.export.parity import Reference, ReferenceAnswers, embedding_pairs
from hemogat.runtime.bundle import GraphName
from hemogat.runtime.parity_report import ComponentLatency
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.preprocess import PreparedUtterance
from hemogat.training.features import embed_samples, embed_texts
from hemogat.training.preparation import PreparedRow

_TIMED = 20
_WARM_UP = 3
_Item = TypeVar("_Item")


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
    clips = [row.samples for row in rows if row.samples is not None][:_TIMED]
    heard = [PreparedUtterance(cut_windows(clip, window_samples), None) for clip in clips]
    texts = [row.tokens for row in rows if row.tokens is not None][:_TIMED]
    written = [PreparedUtterance(None, tokens) for tokens in texts]
    e = expected.embeddings[:_TIMED]
    pairs = embedding_pairs(e)
    alone = [e[n : n + 1] for n in range(len(e))]
    here = {
        "audio_encoder": _p50_ms(lambda u: pipeline.embed_audio([u]), heard),
        "text_encoder": _p50_ms(lambda u: pipeline.embed_text([u]), written),
        "fusion": _p50_ms(lambda pair: pipeline.fuse([pair]), pairs),
    }
    audio, text, head = reference.audio_encoder, reference.text_encoder, reference.head
    there: dict[GraphName, float | None] = {}
    if audio is not None:
        there["audio_encoder"] = _p50_ms(lambda c: embed_samples(audio, [c], window_samples), clips)
    if text is not None:
        there["text_encoder"] = _p50_ms(lambda t: embed_texts(text, [t]), texts)
    there["fusion"] = _p50_ms(lambda one: head(one.audio, one.text, one.present), alone)
    return tuple(
        ComponentLatency(graph=graph, p50_ms=p50_ms, torch_p50_ms=torch_p50_ms)
        for graph, torch_p50_ms in there.items()
        if torch_p50_ms is not None and (p50_ms := here[graph]) is not None
    )


def _p50_ms(call: Callable[[_Item], object], items: Sequence[_Item]) -> float | None:
    """Return the median time of one call, None without items."""
    if not items:
        return None
    for item in items[:_WARM_UP]:
        call(item)
    times_ms = []
    for item in items:
        started = time.perf_counter()
        call(item)
        times_ms.append(1e3 * (time.perf_counter() - started))
    return float(np.median(times_ms))
