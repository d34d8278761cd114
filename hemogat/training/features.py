"""Embeddings of a whole data set from the encoders, kept in shards so that none is made twice."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hemogat.data.audio import cut_windows
from hemogat.data.text import TokenizedText, batch_tokens
from hemogat.files import replace_synced
from hemogat.model.bank import Embeddings
from hemogat.model.encoders import AudioEncoder, TextEncoder
from hemogat.model.writing import writing
from hemogat.progress import Progress, Stage
from hemogat.training.preparation import PreparedRow
from hemogat.training.processes import share

NOT_READ_DIM = 1  # width of the embeddings of a modality that a run does not read
_AT_ONCE = 64  # utterances of a shard, windows of a batch
_ItemT = TypeVar("_ItemT")


@dataclass(frozen=True)
class FeatureCache:
    """A folder of shards, each named by the hash of all that its embeddings depend on.

    That is the encoder's weights and settings, and what enters it: the samples or tokens that
    decoding and tokenising made of the shard's files and texts. So a shard is right or not found,
    and any of them may be deleted at any time.

    ``accelerator``: whose processes share the work, through this folder.
    """

    folder: Path
    accelerator: Accelerator

    def get(self, key: str) -> Tensor | None:
        """Return a shard; None if it is not there, or damaged."""
        try:
            return load_file(self._path(key))["embeddings"]
        except (OSError, SafetensorError, KeyError):
            return None

    def put(self, key: str, embeddings: Tensor) -> None:
        """Keep a shard."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self._path(key).with_suffix(f".{os.getpid()}")
        with writing(temporary):
            save_file({"embeddings": embeddings.contiguous()}, temporary)
        replace_synced(temporary, self._path(key))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def extract_embeddings(
    rows: Sequence[PreparedRow],
    audio_encoder: AudioEncoder | None,
    text_encoder: TextEncoder | None,
    window_samples: int,
    progress: Progress,
    cache: FeatureCache | None = None,
) -> Embeddings:
    """Embed every row, as serving does: mean over windows, one vector per text.

    A modality without an encoder, which no row may have, gets a column of zeros. With a ``cache``,
    what it holds is not computed again, and its processes share the rest.
    """
    present = torch.tensor([row.present for row in rows], dtype=torch.bool).reshape(-1, 2)
    audio, text = (
        torch.zeros(len(rows), NOT_READ_DIM if encoder is None else encoder.dim)
        for encoder in (audio_encoder, text_encoder)
    )
    heard = [row.samples for row in rows if row.samples is not None]
    written = [row.tokens for row in rows if row.tokens is not None]
    with progress.stage("Extract embeddings", len(heard) + len(written)) as stage:
        if audio_encoder is not None:
            audio[present[:, 0]] = _in_shards(
                heard,
                lambda part: embed_samples(audio_encoder, part, window_samples),
                lambda: _identity(audio_encoder, f"windows of {window_samples} samples"),
                lambda samples: samples.tobytes(),
                stage,
                cache,
            )
        if text_encoder is not None:
            text[present[:, 1]] = _in_shards(
                written,
                lambda part: embed_texts(text_encoder, part),
                lambda: _identity(text_encoder, f"pooling {text_encoder.pooling}"),
                lambda tokens: tokens.input_ids.tobytes() + tokens.attention_mask.tobytes(),
                stage,
                cache,
            )
    return Embeddings(audio, text, present)


def _in_shards(
    items: Sequence[_ItemT],
    embed: Callable[[Sequence[_ItemT]], Tensor],
    identity: Callable[[], bytes],
    content: Callable[[_ItemT], bytes],
    stage: Stage,
    cache: FeatureCache | None,
) -> Tensor:
    """Embed shard by shard: the same batches whether or not some are there, so the same bits."""
    shards = [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]
    if cache is None:
        return torch.cat([embed(items[:0]), *_advancing(shards, embed, stage)])
    encoder = identity()
    keys = [_key(encoder, map(content, shard)) for shard in shards]
    for shard, key in share(list(zip(shards, keys, strict=True)), cache.accelerator):
        if cache.get(key) is None:
            cache.put(key, embed(shard))
        stage.advance(len(shard) * cache.accelerator.num_processes)
    cache.accelerator.wait_for_everyone()
    stored = [cache.get(key) for key in keys]
    # A shard that somebody deleted in the meantime is made again.
    made = [embed(s) if t is None else t for s, t in zip(shards, stored, strict=True)]
    return torch.cat([embed(items[:0]), *made])


def _advancing(
    shards: Sequence[Sequence[_ItemT]],
    embed: Callable[[Sequence[_ItemT]], Tensor],
    stage: Stage,
) -> Iterator[Tensor]:
    for shard in shards:
        yield embed(shard)
        stage.advance(len(shard))


def _identity(encoder: AudioEncoder | TextEncoder, settings: str) -> bytes:
    """Return a hash of the encoder's architecture, its weights and how it is used."""
    found = hashlib.sha256(f"{encoder.backbone.config.to_json_string()}\n{settings}".encode())
    for name, value in encoder.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return found.digest()


def _key(encoder: bytes, contents: Iterator[bytes]) -> str:
    found = hashlib.sha256(encoder)
    for content in contents:
        found.update(hashlib.sha256(content).digest())
    return found.hexdigest()


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
