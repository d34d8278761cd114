"""Embeddings of a whole data set from the encoders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hemogat.data.audio import cut_windows
from hemogat.data.text import TokenizedText, batch_tokens
from hemogat.model.bank import Embeddings
from hemogat.model.encoders import AudioEncoder, TextEncoder
from hemogat.progress import Progress
from hemogat.training.preparation import PreparedRow

_AT_ONCE = 64


def extract_embeddings(
    rows: Sequence[PreparedRow],
    audio_encoder: AudioEncoder,
    text_encoder: TextEncoder,
    window_samples: int,
    progress: Progress,
) -> Embeddings:
    """Embed every row, as serving does: mean over windows, one vector per text."""
    audio = torch.zeros(len(rows), audio_encoder.dim)
    text = torch.zeros(len(rows), text_encoder.dim)
    present = torch.zeros(len(rows), 2, dtype=torch.bool)
    with progress.stage("Extract embeddings", len(rows)) as stage:
        for i, row in enumerate(rows):
            if row.samples is not None:
                audio[i] = embed_samples(audio_encoder, row.samples, window_samples)
                present[i, 0] = True
            if row.tokens is not None:
                text[i] = embed_texts(text_encoder, [row.tokens])[0]
                present[i, 1] = True
            stage.advance()
    return Embeddings(audio, text, present)


@torch.no_grad()
def embed_samples(
    encoder: AudioEncoder, samples: NDArray[np.float32], window_samples: int
) -> Tensor:
    """Return the mean embedding [dim] of one utterance's windows, on the CPU."""
    windows = torch.from_numpy(cut_windows(samples, window_samples))
    device = next(encoder.parameters()).device
    parts = [encoder(part.to(device)) for part in torch.split(windows, _AT_ONCE)]
    return torch.cat(parts).mean(dim=0).cpu()


@torch.no_grad()
def embed_texts(encoder: TextEncoder, texts: Sequence[TokenizedText]) -> Tensor:
    """Return one embedding per text, [N, dim], on the CPU."""
    device = next(encoder.parameters()).device
    result = torch.zeros(len(texts), encoder.dim)
    for positions, input_ids, attention_mask in batch_tokens(texts):
        for start in range(0, len(positions), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            ids = torch.from_numpy(input_ids[part]).to(device)
            mask = torch.from_numpy(attention_mask[part]).to(device)
            result[positions[part]] = encoder(ids, mask).cpu()
    return result
