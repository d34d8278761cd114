"""HM-GAT: the stack of graph layers over an utterance and its neighbours (paper Section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from hemogat.config import HeadConfig
from hemogat.model.graph_layers import DenseGATLayer
from hemogat.model.topk_graph import MASKED


@dataclass(frozen=True)
class GraphOutput:
    """What the stack gives.

    Shapes:
        features: [N, hidden]
        attention: [N, K + 1], last layer
        states: per layer [N, state_width], what the nodes send to their neighbours
    """

    features: Tensor
    attention: Tensor
    states: tuple[Tensor, ...]


class HMGAT(nn.Module):
    r"""L graph layers: all but the last concatenate heads (Eq. 9), the last averages (Eq. 10).

    As the authors' code: one batch norm shared by the layers before the last, then LeakyReLU;
    layers in the middle add dropout and a residual; nothing follows the last layer. One layer
    means the last layer alone.

    .. math::
        h^1 = \phi(GAT_1(v)), \quad h^l = D(\phi(GAT_l(h^{l-1}))) + h^{l-1}, \quad
        g = GAT_L(h^{L-1})

    Shapes:
        nodes: [N, node_width]
        neighbours: int64 [N, K], -1 where masked
        bank_states: per layer [M, state_width]; None: neighbours are among ``nodes`` themselves
    """

    def __init__(self, node_width: int, head: HeadConfig) -> None:
        super().__init__()
        wide = head.hidden * head.heads
        inner = head.num_layers - 1
        self.layers = nn.ModuleList(
            DenseGATLayer(node_width if i == 0 else wide, head.hidden, head.heads, concat=True)
            for i in range(inner)
        )
        self.last = DenseGATLayer(
            wide if inner else node_width, head.hidden, head.final_heads, concat=False
        )
        self.batch_norm = nn.BatchNorm1d(wide) if inner else None
        self.dropout = nn.Dropout(head.dropout)

    def forward(
        self, nodes: Tensor, neighbours: Tensor, bank_states: Sequence[Tensor] | None = None
    ) -> GraphOutput:
        """Refine every node by its neighbours."""
        mask = neighbours != MASKED
        slots = neighbours.clamp(min=0)  # masked slots read row 0, and their weight is 0
        sent: list[Tensor] = []

        def step(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
            assert isinstance(layer, DenseGATLayer)
            states = layer.project(x)
            source = states if bank_states is None else bank_states[len(sent)]
            sent.append(states)
            return layer.aggregate(states, F.embedding(slots, source), mask)

        x = nodes
        for number, layer in enumerate(self.layers):
            assert self.batch_norm is not None
            h, _ = step(layer, x)
            h = F.leaky_relu(self.batch_norm(h))
            x = h if number == 0 else self.dropout(h) + x
        features, attention = step(self.last, x)
        return GraphOutput(features, attention, tuple(sent))
