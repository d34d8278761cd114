"""The bank: training utterances with everything that a new utterance's graph needs of them.

Bank rows take their neighbours from the bank alone, so what a row sends at each layer never
depends on who asks: it is computed once (:func:`freeze_bank`), and a query costs one similarity
search plus a fixed number of gathered rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hemogat.config import GraphConfig
from hemogat.errors import ConfigError
from hemogat.model.geometric import edges_of
from hemogat.model.head import FusionHead, HeadOutput
from hemogat.model.topk_graph import SearchTable, check_k, link_together, search_bank


@dataclass(frozen=True)
class Embeddings:
    """Utterances as the head sees them.

    Shapes:
        audio, text: [N, d_a], [N, d_t], zeros where absent
        present: bool [N, 2] (audio, text)
    """

    audio: Tensor
    text: Tensor
    present: Tensor

    def __len__(self) -> int:
        return len(self.present)

    def __getitem__(self, rows: Tensor | slice) -> Embeddings:
        return Embeddings(self.audio[rows], self.text[rows], self.present[rows])


@dataclass(frozen=True)
class Bank:
    """A frozen bank of M utterances.

    Shapes:
        states: per graph layer [M, state_width], empty for a head without a graph
    """

    embeddings: Embeddings
    states: tuple[Tensor, ...]


def transductive(head: FusionHead, embeddings: Embeddings, graph: GraphConfig) -> HeadOutput:
    """Classify utterances on one graph among themselves (the paper's evaluation).

    Raises:
        ConfigError: k is larger than the other utterances that have the modality, or messages
            carry labels, which utterances that are asked about do not have.
    """
    if graph.used_by(head.config).labels:
        raise ConfigError(
            "graph.labels is true: messages carry labels, which only a bank knows; evaluate "
            "inductively, or use labels: false"
        )
    e, neighbours = embeddings, _among_themselves(head, embeddings, graph)
    if graph.direction == "outgoing":
        return head.forward_edges(e.audio, e.text, e.present, edges_of(neighbours, "outgoing"))
    output: HeadOutput = head(e.audio, e.text, e.present, neighbours)
    return output


def _among_themselves(head: FusionHead, embeddings: Embeddings, graph: GraphConfig) -> Tensor:
    e = embeddings
    return link_together(e.audio, e.text, e.present, graph.used_by(head.config)).index


def self_loops_only(head: FusionHead, embeddings: Embeddings) -> HeadOutput:
    """Classify utterances without any neighbour: a graph of self-loops."""
    e = embeddings
    nobody = torch.empty(len(e), 0, dtype=torch.int64, device=e.audio.device)
    output: HeadOutput = head(e.audio, e.text, e.present, nobody)
    return output


@torch.no_grad()
def freeze_bank(
    head: FusionHead, embeddings: Embeddings, graph: GraphConfig, *, labels: Tensor | None = None
) -> Bank:
    """Compute what every bank utterance sends at every layer; ``head`` is left in evaluation mode.

    ``labels``: int64 [M], the bank's own, which messages carry with ``graph.labels: true`` and
    which nothing reads otherwise.

    Raises:
        ConfigError: k is larger than the other rows that have the modality, or the graph's messages
            do not flow to the utterance that asks.
    """
    if graph.direction != "incoming":
        raise ConfigError(
            f"graph.direction is {graph.direction}: a new utterance would get no messages, so "
            f"there is no bank for it; evaluate transductively, or use direction: incoming"
        )
    visible = None
    if graph.used_by(head.config).labels:
        if labels is None:
            raise ConfigError("graph.labels is true, but the bank was given without labels")
        visible = labels
    e, neighbours = embeddings, _among_themselves(head, embeddings, graph)
    states = head.eval().send(e.audio, e.text, e.present, neighbours, visible_labels=visible)
    return Bank(embeddings, states)


class InductiveOutput(NamedTuple):
    """The outputs of the fusion graph, in the contract's names and order.

    Shapes:
        logits, probabilities: [B, labels]
        neighbours: int64 [B, K], bank rows, -1 where masked
        similarities: [B, K], 0 where masked
        attention: [B, K + 1], last layer, the last column the node itself; None where the layers
            do not attend
    """

    logits: Tensor
    probabilities: Tensor
    neighbours: Tensor
    similarities: Tensor
    attention: Tensor | None


class InductiveHead(nn.Module):
    """A head with its bank: each utterance's neighbours come from the bank, never from its batch.

    This is the torch reference of the exported ``fusion`` graph.

    Shapes:
        audio, text: [B, d_a], [B, d_t]; present: bool [B, 2] (audio, text)

    Raises:
        ConfigError: k is larger than the bank rows that have the modality.
    """

    audio_table: Tensor
    audio_rows: Tensor
    text_table: Tensor
    text_rows: Tensor

    def __init__(self, head: FusionHead, bank: Bank, graph: GraphConfig) -> None:
        super().__init__()
        self.head = head
        self.graph = graph.used_by(head.config)
        e = bank.embeddings
        check_k(self.graph, int(e.present[:, 0].sum()), int(e.present[:, 1].sum()))
        for name, column, embeddings in (("audio", 0, e.audio), ("text", 1, e.text)):
            table = SearchTable.build(embeddings, e.present[:, column])
            self.register_buffer(f"{name}_table", table.table)
            self.register_buffer(f"{name}_rows", table.rows)
        for number, states in enumerate(bank.states):
            self.register_buffer(f"states_{number}", states)

    @property
    def states(self) -> tuple[Tensor, ...]:
        """Per graph layer, what the bank's utterances send: [M, state_width]."""
        layers = 0 if self.head.gnn is None else self.head.config.num_layers
        return tuple(self.get_buffer(f"states_{number}") for number in range(layers))

    def forward(self, audio: Tensor, text: Tensor, present: Tensor) -> InductiveOutput:
        """Search the bank and classify."""
        neighbours = search_bank(
            audio,
            text,
            present,
            SearchTable(self.audio_table, self.audio_rows),
            SearchTable(self.text_table, self.text_rows),
            self.graph,
        )
        output = self.head(audio, text, present, neighbours.index, self.states)
        return InductiveOutput(
            output.logits,
            output.logits.softmax(dim=1),
            neighbours.index,
            neighbours.similarity,
            output.attention,
        )
