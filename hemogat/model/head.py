"""The fusion head: projections, HM-GAT and CMT side by side, classifier (paper Fig. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hemogat.config import HeadConfig
from hemogat.contract import Modality
from hemogat.model.cmt import CrossAttentionBlock, CrossModalTransformer
from hemogat.model.hm_gat import HMGAT


@dataclass(frozen=True)
class HeadOutput:
    """What the head gives.

    Shapes:
        logits: [N, labels]
        attention: [N, K + 1], None without a graph
        states: per graph layer [N, state_width], empty without a graph
    """

    logits: Tensor
    attention: Tensor | None
    states: tuple[Tensor, ...]


class FusionHead(nn.Module):
    r"""Classify utterances from their embeddings and their neighbours'.

    .. math::
        a = \mathrm{ReLU}(\mathrm{BN}(W_a u^a)), \quad
        t = \mathrm{ReLU}(\mathrm{BN}(W_t u^t)), \quad
        y = \mathrm{MLP}(\mathrm{HMGAT}(t \Vert a) \,\Vert\, \mathrm{CMT}(a, t))

    An absent modality's embedding is replaced by a learned vector, which only
    ``head.modality_dropout`` trains. With ``modalities: audio`` or ``text`` the node is that
    projection alone and CMT is one self-attention block; the other embedding is not read. With
    ``modules: no_gnn`` the CMT features are classified alone.

    Shapes:
        audio, text: [N, audio_dim], [N, text_dim]
        present: bool [N, 2] (audio, text)
        neighbours: int64 [N, K], -1 where masked
        bank_states: per layer [M, state_width]; None: neighbours are among the N utterances
    """

    def __init__(self, audio_dim: int, text_dim: int, labels: int, head: HeadConfig) -> None:
        super().__init__()
        self.config = head
        width = head.hidden
        self.uses: tuple[Modality, ...] = (
            ("audio", "text") if head.modalities == "both" else (head.modalities,)
        )
        dims = {"audio": audio_dim, "text": text_dim}
        self.projections = nn.ModuleDict(
            {m: _projection(dims[m], width, head.dropout) for m in self.uses}
        )
        self.missing = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(dims[m])) for m in self.uses if head.modality_dropout}
        )
        both = len(self.uses) == 2
        self.cmt: nn.Module = (CrossModalTransformer if both else CrossAttentionBlock)(
            width, head.heads, head.dropout
        )
        self.gnn = HMGAT(width * len(self.uses), head) if head.modules == "full" else None
        self.mlp = nn.Sequential(
            nn.Linear(width * (len(self.uses) + (self.gnn is not None)), width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Dropout(head.dropout),
            nn.Linear(width, labels),
        )

    def forward(
        self,
        audio: Tensor,
        text: Tensor,
        present: Tensor,
        neighbours: Tensor,
        bank_states: Sequence[Tensor] | None = None,
    ) -> HeadOutput:
        """Return logits, attention and what the utterances would send to neighbours."""
        projected = self._project(audio, text, present)
        if len(projected) == 2:
            cmt = self.cmt(projected["audio"], projected["text"])
            node = torch.cat([projected["text"], projected["audio"]], dim=1)  # Eq. 8
        else:
            (node,) = projected.values()
            cmt = self.cmt(node, node)
        if self.gnn is None:
            return HeadOutput(self.mlp(cmt), None, ())
        graph = self.gnn(node, neighbours, bank_states)
        logits = self.mlp(torch.cat([graph.features, cmt], dim=1))
        return HeadOutput(logits, graph.attention, graph.states)

    def _project(self, audio: Tensor, text: Tensor, present: Tensor) -> dict[str, Tensor]:
        projected = {}
        for column, (name, embedding) in enumerate((("audio", audio), ("text", text))):
            if name not in self.projections:
                continue
            if name in self.missing:
                there = present[:, column : column + 1]
                embedding = torch.where(there, embedding, self.missing[name])
            projected[name] = self.projections[name](embedding)
        return projected


def _projection(in_width: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(in_width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)
    )
