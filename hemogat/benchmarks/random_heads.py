"""Heads with random weights, with a bank of clustered embeddings: what needs no encoder.

Apart from :mod:`.base_models`, because a process that times a head alone need not import
transformers, which takes longer than to build the head.
"""

from __future__ import annotations

import torch

from hemogat.benchmarks.targets import HeadShape
from hemogat.model.bank import Bank, Embeddings, InductiveHead, freeze_bank
from hemogat.model.head import FusionHead
from hemogat.runtime.bundle import Dims

DIM = 768
_CLUSTERS = 256
_SPREAD = 0.5  # of a cluster, where the clusters' centres have 1
_FROZEN_UP_TO_ROWS = 10_000
_PROBED_ROWS = 16
_BASE_DIMS = Dims(audio=DIM, text=DIM)


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
