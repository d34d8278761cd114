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
        for start in range(0, len(rows), _AT_ONCE):
            numbered = list(enumerate(rows))[start : start + _AT_ONCE]
            heard = {i: row.samples for i, row in numbered if row.samples is not None}
            written = {i: row.tokens for i, row in numbered if row.tokens is not None}
            audio[list(heard)] = embed_samples(audio_encoder, [*heard.values()], window_samples)
            text[list(written)] = embed_texts(text_encoder, [*written.values()])
            present[list(heard), 0] = True
            present[list(written), 1] = True
            stage.advance(len(numbered))
    return Embeddings(audio, text, present)


@torch.no_grad()
def embed_samples(
    encoder: AudioEncoder, utterances: Sequence[NDArray[np.float32]], window_samples: int
) -> Tensor:
    """Return the mean embedding of each utterance's windows, [N, dim], on the CPU."""
    if not utterances:
        return torch.zeros(0, encoder.dim)
    cut = [cut_windows(samples, window_samples) for samples in utterances]
    windows = torch.from_numpy(np.concatenate(cut))
    device = next(encoder.parameters()).device
    encoded = torch.cat([encoder(part.to(device)).cpu() for part in windows.split(_AT_ONCE)])
    return torch.stack([part.mean(dim=0) for part in encoded.split([len(part) for part in cut])])


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
