"""The fusion graph's inputs from embeddings, the same in process and in the server."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hemogat.runtime.bundle import Dims
from hemogat.runtime.sessions import Arrays

Embedding = NDArray[np.float32]


def fusion_feeds(
    embeddings: Sequence[tuple[Embedding | None, Embedding | None]], dims: Dims
) -> Arrays:
    """Stack (audio [d_a], text [d_t]) per utterance; an absent one is zeros and not present.

    Shapes:
        audio_embedding, text_embedding: float32 [B, d_a], [B, d_t]
        present: bool [B, 2]
    """
    audio = np.zeros((len(embeddings), dims.audio), np.float32)
    text = np.zeros((len(embeddings), dims.text), np.float32)
    present = np.zeros((len(embeddings), 2), np.bool_)
    for row, pair in enumerate(embeddings):
        for column, (target, embedding) in enumerate(zip((audio, text), pair, strict=True)):
            if embedding is not None:
                target[row] = embedding
                present[row, column] = True
    return {"audio_embedding": audio, "text_embedding": text, "present": present}
