"""The base preset: wav2vec2-base, BERT-base and the authors' head, with random weights.

Speed does not depend on the weights' values. What it does depend on, the bank's embeddings, come
in clusters as trained ones do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hemogat.benchmarks.cost import base_encoders
from hemogat.benchmarks.targets import HeadShape
from hemogat.config import GraphConfig
from hemogat.contract import WINDOW_SAMPLES
from hemogat.export.onnx_graphs import export_audio_encoder, export_fusion, export_text_encoder
from hemogat.model.bank import Bank, Embeddings, InductiveHead, freeze_bank
from hemogat.model.encoders import AudioEncoder, TextEncoder
from hemogat.model.head import FusionHead
from hemogat.runtime.bundle import Dims, GraphName
from hemogat.runtime.engine_session import Arrays

DIM = 768
TOKENS = 16
PADDED_TOKENS = 128  # what the authors' fine-tuning pads to
OPSET = 20
_VOCABULARY = (1000, 30_000)  # of BERT: real word pieces
_CLUSTERS = 256
_SPREAD = 0.5  # of a cluster, where the clusters' centres have 1
_FROZEN_UP_TO_ROWS = 10_000
_PROBED_ROWS = 16
_BASE_DIMS = Dims(audio=DIM, text=DIM)


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


def build_head(bank_rows: int, seed: int = 0) -> tuple[FusionHead, Bank]:
    """Build the preset's head and its bank."""
    return build_head_of(HeadShape(bank_rows=bank_rows), seed)


def build_head_of(shape: HeadShape, seed: int = 0) -> tuple[FusionHead, Bank]:
    """Build a head and its bank; a large bank's states are random numbers, which take no longer."""
    torch.manual_seed(seed)
    dims, graph = shape.dims, shape.graph
    head = FusionHead(dims.audio, dims.text, shape.labels, shape.head).eval()
    embeddings = clustered_embeddings(shape.bank_rows, seed, dims)
    if shape.bank_rows <= _FROZEN_UP_TO_ROWS:
        return head, freeze_bank(head, embeddings, graph)
    probe = freeze_bank(head, embeddings[:_PROBED_ROWS], graph).states
    return head, Bank(embeddings, tuple(torch.randn(shape.bank_rows, s.shape[1]) for s in probe))


def build_inductive_head(shape: HeadShape, seed: int = 0) -> InductiveHead:
    """Build a head on its bank, ready for evaluation."""
    head, bank = build_head_of(shape, seed)
    return InductiveHead(head, bank, shape.graph).eval()


def clustered_embeddings(rows: int, seed: int = 0, dims: Dims = _BASE_DIMS) -> Embeddings:
    """Return embeddings around random centres, another cluster in each modality."""
    random = torch.Generator().manual_seed(seed)

    def modality(dim: int) -> torch.Tensor:
        centres = torch.randn(_CLUSTERS, dim, generator=random)
        chosen = centres[torch.randint(_CLUSTERS, (rows,), generator=random)]
        return chosen + _SPREAD * torch.randn(rows, dim, generator=random)

    present = torch.ones(rows, 2, dtype=torch.bool)
    return Embeddings(modality(dims.audio), modality(dims.text), present)


def write_graphs(models: BaseModels, folder: Path) -> dict[GraphName, Path]:
    """Export all three graphs as fp32 ONNX, each into a folder of its own."""
    return {
        "audio_encoder": export_audio_encoder(
            models.audio_encoder, folder / "audio_encoder", OPSET
        ),
        "text_encoder": export_text_encoder(models.text_encoder, folder / "text_encoder", OPSET),
        "fusion": export_fusion(
            models.head.head, models.bank, GraphConfig(), folder / "fusion", OPSET
        ),
    }


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
