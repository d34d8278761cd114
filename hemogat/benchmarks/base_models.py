"""The base preset: wav2vec2-base, BERT-base and the authors' head, with random weights.

Speed does not depend on the weights' values. What it does depend on, the bank's embeddings, come
in clusters as trained ones do (:mod:`.random_heads`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hemogat.benchmarks.cost import base_encoders
from hemogat.benchmarks.random_heads import DIM, build_head
from hemogat.config import GraphConfig
from hemogat.contract import WINDOW_SAMPLES
from hemogat.export.onnx_graphs import export_audio_encoder, export_text_encoder
from hemogat.model.bank import Bank, InductiveHead
from hemogat.model.encoders import AudioEncoder, TextEncoder
from hemogat.runtime.bundle import GraphName
from hemogat.runtime.engine_session import Arrays

TOKENS = 16
PADDED_TOKENS = 128  # what the authors' fine-tuning pads to
OPSET = 20
_VOCABULARY = (1000, 30_000)  # of BERT: real word pieces


@dataclass(frozen=True)
class BaseModels:
    """The torch reference of the base preset, ready for evaluation."""

    audio_encoder: AudioEncoder
    text_encoder: TextEncoder
    head: InductiveHead
    bank: Bank


def build_base_models(bank_rows: int, seed: int = 0) -> BaseModels:
    """Build both encoders, the head and a bank of clustered rows."""
    torch.manual_seed(seed)
    audio, text = base_encoders()
    head, bank = build_head(bank_rows, seed)
    return BaseModels(audio, text, InductiveHead(head, bank, GraphConfig()).eval(), bank)


def write_encoder(encoder: AudioEncoder | TextEncoder, folder: Path) -> Path:
    """Export an encoder as fp32 ONNX into ``folder``."""
    if isinstance(encoder, AudioEncoder):
        return export_audio_encoder(encoder, folder, OPSET)
    return export_text_encoder(encoder, folder, OPSET)


def sample_feeds(tokens: int = TOKENS, seed: int = 0) -> dict[GraphName, Arrays]:
    """Return one window, one text of 16 tokens padded to ``tokens``, one pair of embeddings."""
    random = np.random.default_rng(seed)
    ids = np.zeros((1, tokens), np.int64)
    ids[:, :TOKENS] = random.integers(*_VOCABULARY, (1, TOKENS))
    return {
        "audio_encoder": {
            "windows": random.standard_normal((1, WINDOW_SAMPLES)).astype(np.float32)
        },
        "text_encoder": {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)},
        "fusion": {
            "audio_embedding": random.standard_normal((1, DIM)).astype(np.float32),
            "text_embedding": random.standard_normal((1, DIM)).astype(np.float32),
            "present": np.ones((1, 2), np.bool_),
        },
    }


def calibration_feeds(samples: int) -> Mapping[GraphName, tuple[Arrays, ...]]:
    """Return inputs for int8; noise, as the weights are random too."""
    drawn = [sample_feeds(seed=seed) for seed in range(samples)]
    graphs: tuple[GraphName, ...] = ("audio_encoder", "text_encoder", "fusion")
    return {graph: tuple(feeds[graph] for feeds in drawn) for graph in graphs}
