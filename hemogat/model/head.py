"""The fusion head: projections, HM-GAT and CMT side by side, classifier (paper Fig. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hemogat.config import HeadConfig
from hemogat.contract import MODALITIES, Modality
from hemogat.model.cmt import CrossAttentionBlock, CrossModalTransformer
from hemogat.model.dropout import Dropout
from hemogat.model.hm_gat import HMGAT, GraphOutput

HIDDEN = -1  # in place of a label


@dataclass(frozen=True)
class HeadOutput:
    """What the head gives.

    Shapes:
        logits: [N, labels]
        attention: [N, K + 1], None without a graph or where its layers do not attend
        states: per graph layer [N, state_width], empty without a graph
        hidden: per graph layer [N, width], the nodes after it, empty without a graph
    """

    logits: Tensor
    attention: Tensor | None
    states: tuple[Tensor, ...]
    hidden: tuple[Tensor, ...]


class FusionHead(nn.Module):
    r"""Classify utterances from their embeddings and their neighbours'.

    .. math::
        a = \mathrm{ReLU}(\mathrm{BN}(W_a u^a)), \quad
        t = \mathrm{ReLU}(\mathrm{BN}(W_t u^t)), \quad
        y = \mathrm{MLP}(\mathrm{HMGAT}(t \Vert a) \,\Vert\, \mathrm{CMT}(a, t))

    An absent modality's embedding is replaced by a learned vector, which only
    ``head.modality_dropout`` trains. With ``modalities: audio`` or ``text`` the node is that
    projection alone and CMT is one self-attention block; the other embedding is not read. With
    ``modules: no_gnn`` the CMT features are classified alone, with ``no_cmt`` the graph's.

    With ``label_messages`` a node whose label is visible adds a learned vector of that label to
    its features, and so to all that it sends (masked label prediction, Shi et al. 2021, UniMP).
    Who is asked about keeps its label hidden; CMT never sees one.

    Shapes:
        audio, text: [N, audio_dim], [N, text_dim]
        present: bool [N, 2] (audio, text)
        neighbours: int64 [N, K], -1 where masked
        bank_states: per layer [M, state_width]; None: neighbours are among the N utterances
        visible_labels: int64 [N], ``HIDDEN`` where hidden; None: all are hidden
    """

    def __init__(
        self,
        audio_dim: int,
        text_dim: int,
        labels: int,
        head: HeadConfig,
        *,
        label_messages: bool = False,
    ) -> None:
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
        cmt = CrossModalTransformer if len(self.uses) == 2 else CrossAttentionBlock
        self.cmt: nn.Module | None = None
        if head.modules != "no_cmt":
            self.cmt = cmt(width, head.heads, head.dropout)
        self.gnn = HMGAT(width * len(self.uses), head) if head.modules != "no_gnn" else None
        self.label_embedding: nn.Embedding | None = None
        if label_messages and self.gnn is not None:
            self.label_embedding = nn.Embedding(labels, width * len(self.uses))
        features = (self.gnn is not None) + len(self.uses) * (self.cmt is not None)
        self.mlp = nn.Sequential(
            nn.Linear(width * features, width),
            nn.LayerNorm(width),
            nn.ReLU(inplace=True),
            Dropout(head.dropout),
            nn.Linear(width, labels),
        )

    def forward(
        self,
        audio: Tensor,
        text: Tensor,
        present: Tensor,
        neighbours: Tensor,
        bank_states: Sequence[Tensor] | None = None,
        *,
        visible_labels: Tensor | None = None,
    ) -> HeadOutput:
        """Return logits, attention and what the utterances would send to neighbours."""
        projected = self._project(audio, text, present)
        graph = None
        if self.gnn is not None:
            nodes = self._with_labels(_nodes(projected), visible_labels)
            graph = self.gnn(nodes, neighbours, bank_states)
        return self._classify(projected, graph)

    def send(
        self,
        audio: Tensor,
        text: Tensor,
        present: Tensor,
        neighbours: Tensor,
        *,
        visible_labels: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return the states that ``forward`` gives of utterances among themselves, and no more."""
        if self.gnn is None:
            return ()
        nodes = self._with_labels(_nodes(self._project(audio, text, present)), visible_labels)
        return self.gnn.send(nodes, neighbours)

    def classify_last(
        self,
        audio: Tensor,
        text: Tensor,
        present: Tensor,
        neighbours: Tensor,
        count: int,
        *,
        visible_labels: Tensor | None = None,
    ) -> Tensor:
        """Return the logits [count, labels] that ``forward`` gives the last ``count`` utterances.

        Where the others take their neighbours from each other alone, they are a bank, whose states
        need not be kept: the quickest way to ask about many utterances once.
        """
        projected = self._project(audio, text, present)
        asked = {name: rows[-count:] for name, rows in projected.items()}
        if self.gnn is None:
            return self._logits(asked, None)
        nodes = self._with_labels(_nodes(projected), visible_labels)
        return self._logits(asked, self.gnn.refine_last(nodes, neighbours, count))

    def forward_gathered(
        self,
        audio: Tensor,
        text: Tensor,
        present: Tensor,
        mask: Tensor,
        received: Sequence[Tensor],
        *,
        visible_labels: Tensor | None = None,
    ) -> HeadOutput:
        """Do as ``forward``, the neighbours' states having been looked up elsewhere.

        Shapes:
            mask: bool [N, K], true where a slot holds a neighbour
            received: per layer [N, K, state_width]
        """
        projected = self._project(audio, text, present)
        graph = None
        if self.gnn is not None:
            nodes = self._with_labels(_nodes(projected), visible_labels)
            graph = self.gnn.forward_gathered(nodes, mask, received)
        return self._classify(projected, graph)

    def forward_edges(
        self, audio: Tensor, text: Tensor, present: Tensor, edges: Tensor
    ) -> HeadOutput:
        """Classify utterances on any graph among them: ``edges`` int64 [2, E], with self-loops."""
        projected = self._project(audio, text, present)
        graph = None
        if self.gnn is not None:
            graph = self.gnn.forward_edges(_nodes(projected), edges)
        return self._classify(projected, graph)

    def _with_labels(self, nodes: Tensor, labels: Tensor | None) -> Tensor:
        if self.label_embedding is None or labels is None:
            return nodes
        visible = (labels != HIDDEN).unsqueeze(1)
        sent: Tensor = nodes + self.label_embedding(labels.clamp(min=0)) * visible
        return sent

    def _classify(self, projected: dict[str, Tensor], graph: GraphOutput | None) -> HeadOutput:
        if graph is None:
            return HeadOutput(self._logits(projected, None), None, (), ())
        logits = self._logits(projected, graph.hidden[-1])
        return HeadOutput(logits, graph.attention, graph.states, graph.hidden)

    def _logits(self, projected: dict[str, Tensor], refined: Tensor | None) -> Tensor:
        features = [] if refined is None else [refined]
        if self.cmt is not None:
            used = [projected[m] for m in MODALITIES if m in projected]
            features.append(self.cmt(used[0], used[-1]))  # one modality attends to itself
        logits: Tensor = self.mlp(torch.cat(features, dim=1))
        return logits

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


def _nodes(projected: dict[str, Tensor]) -> Tensor:
    """Return the node features: [t ‖ a] (Eq. 8), or the one modality there is."""
    return torch.cat([projected[m] for m in ("text", "audio") if m in projected], dim=1)


def _projection(in_width: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(in_width, width),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        Dropout(dropout),
    )
