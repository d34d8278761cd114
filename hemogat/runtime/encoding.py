"""From windows and tokens to one embedding per utterance, with whatever runs the encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hemogat.data.text import TokenizedText, batch_tokens
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.fusion_inputs import Embedding

# Runs one encoder graph: inputs and outputs by the contract's names.
Run = Callable[[Arrays], Arrays]


def encode_windows(run: Run, windows: NDArray[np.float32], *, at_once: int) -> NDArray[np.float32]:
    """Encode windows [W, window_samples], ``at_once`` of them at a time: float32 [W, d_a]."""
    # One chunk after the other: a long clip must neither fill memory nor a server's queue.
    chunks = [
        run({"windows": windows[start : start + at_once]})["audio_embedding"]
        for start in range(0, len(windows), at_once)
    ]
    return np.concatenate(chunks)


def embed_audio(
    run: Run, clips: Sequence[NDArray[np.float32] | None], *, at_once: int
) -> list[Embedding | None]:
    """Encode the windows of all clips and average each clip's: float32 [d_a] or None.

    Shapes:
        clips: float32 [W, window_samples] each, or None where there is no audio
    """
    heard = [windows for windows in clips if windows is not None]
    if not heard:
        return [None] * len(clips)
    encoded = encode_windows(run, np.concatenate(heard), at_once=at_once)
    bounds = np.cumsum([len(windows) for windows in heard])[:-1]
    means = iter([part.mean(axis=0) for part in np.split(encoded, bounds)])
    return [None if windows is None else next(means) for windows in clips]


def embed_text(run: Run, texts: Sequence[TokenizedText | None]) -> list[Embedding | None]:
    """Encode all texts, those of one token bucket together: float32 [d_t] or None."""
    embeddings: list[Embedding | None] = [None] * len(texts)
    rows = [row for row, tokens in enumerate(texts) if tokens is not None]
    for positions, input_ids, attention_mask in batch_tokens([t for t in texts if t is not None]):
        encoded = run({"input_ids": input_ids, "attention_mask": attention_mask})["text_embedding"]
        for position, embedding in zip(positions, encoded, strict=True):
            embeddings[rows[position]] = embedding
    return embeddings
