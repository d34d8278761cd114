"""HM-GAT: the stack of graph layers over an utterance and its neighbours (paper Section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hemogat.config import HeadConfig
from hemogat.model.dropout import Dropout
from hemogat.model.geometric import geometric_conv
from hemogat.model.graph_layers import DenseGATLayer, DenseGCNLayer, DenseSAGELayer, GraphLayer
from hemogat.model.topk_graph import MASKED


@dataclass(frozen=True)
class GraphOutput:
    """What the stack gives.

    Shapes:
        hidden: per layer [N, width], the nodes after it; the last is [N, config.hidden]
        attention: [N, K + 1], last layer; None for a layer without attention
        states: per layer [N, state_width], what the nodes send to their neighbours
    """

    hidden: tuple[Tensor, ...]
    attention: Tensor | None
    states: tuple[Tensor, ...]


class HMGAT(nn.Module):
    r"""L graph layers: all but the last concatenate heads (Eq. 9), the last averages (Eq. 10).

    As the authors' code: one batch norm shared by the layers before the last, then LeakyReLU;
    layers in the middle add dropout and a residual; nothing follows the last layer. One layer
    means the last layer alone. With ``gnn: gcn`` or ``sage`` the layers are those, without heads.

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
        wide = head.hidden * (head.heads if head.gnn == "gat" else 1)
        inner = head.num_layers - 1
        self.layers = nn.ModuleList(
            _layer(head, node_width if i == 0 else wide, last=False) for i in range(inner)
        )
        self.last = _layer(head, wide if inner else node_width, last=True)
        self.batch_norm = nn.BatchNorm1d(wide) if inner else None
        self.dropout = Dropout(head.dropout, inplace=True)

    def forward(
        self, nodes: Tensor, neighbours: Tensor, bank_states: Sequence[Tensor] | None = None
    ) -> GraphOutput:
        """Refine every node by its neighbours."""
        mask = neighbours != MASKED
        # Masked slots read row 0, and their weight is 0. No clamp: TensorRT clips floats only.
        slots = neighbours.masked_fill(~mask, 0)
        sent: list[Tensor] = []
        attention: Tensor | None = None

        def step(layer: GraphLayer, x: Tensor) -> Tensor:
            nonlocal attention
            states = layer.project(x, mask)
            if bank_states is None:
                out, attention = layer.propagate(x, states, slots, mask)
            else:
                received = F.embedding(slots, bank_states[len(sent)])
                out, attention = layer.aggregate(x, states, received, mask)
            sent.append(states)
            return out

        hidden = self._refine(nodes, step)
        return GraphOutput(hidden, attention, tuple(sent))

    def send(self, nodes: Tensor, neighbours: Tensor) -> tuple[Tensor, ...]:
        """Return the states that ``forward`` gives of nodes among themselves, and nothing else.

        What nodes send at the last layer does not depend on what they get there.
        """
        mask = neighbours != MASKED
        slots = neighbours.masked_fill(~mask, 0)
        sent: list[Tensor] = []

        def step(layer: GraphLayer, x: Tensor) -> Tensor:
            states = layer.project(x, mask)
            sent.append(states)
            return layer.propagate(x, states, slots, mask)[0]

        before_last = (nodes, *self._refine_inner(nodes, step))[-1]
        return (*sent, self.last.project(before_last, mask))

    def refine_last(self, nodes: Tensor, neighbours: Tensor, count: int) -> Tensor:
        """Return what ``forward`` makes of the last ``count`` nodes, [count, hidden], no more.

        The neighbours are among ``nodes``. Of every layer only what the next one reads is computed;
        in evaluation, as batch statistics in training are of all nodes.
        """
        assert not self.training
        mask = neighbours != MASKED
        slots = neighbours.masked_fill(~mask, 0)
        held = torch.arange(len(nodes), device=nodes.device)  # the nodes that x is of
        wanted = [held[-count:]]
        for _ in self.layers:
            wanted.insert(0, torch.cat([wanted[0], slots[wanted[0]].flatten()]).unique())
        x, place = nodes, held.clone()
        for number, (layer, rows) in enumerate(zip((*self.layers, self.last), wanted, strict=True)):
            assert isinstance(layer, GraphLayer)
            place[held] = torch.arange(len(held), device=nodes.device)
            own, states = place[rows], layer.project(x, mask[held])
            h, _ = layer.propagate(x, states, place[slots[rows]], mask[rows], own)
            x = h if layer is self.last else self._activate(number, h, x[own])
            held = rows
        return x

    def forward_gathered(
        self, nodes: Tensor, mask: Tensor, received: Sequence[Tensor]
    ) -> GraphOutput:
        """Refine every node by neighbours whose states were looked up elsewhere.

        Shapes:
            mask: bool [N, K], true where a slot holds a neighbour
            received: per layer [N, K, state_width], anything where masked
        """
        sent: list[Tensor] = []
        attention: Tensor | None = None

        def step(layer: GraphLayer, x: Tensor) -> Tensor:
            nonlocal attention
            states = layer.project(x, mask)
            out, attention = layer.aggregate(x, states, received[len(sent)], mask)
            sent.append(states)
            return out

        hidden = self._refine(nodes, step)
        return GraphOutput(hidden, attention, tuple(sent))

    def forward_edges(self, nodes: Tensor, edges: Tensor) -> GraphOutput:
        """Refine every node along ``edges`` int64 [2, E], self-loops among them."""

        def step(layer: GraphLayer, x: Tensor) -> Tensor:
            out: Tensor = geometric_conv(layer).to(x.device)(x, edges)
            return out

        return GraphOutput(self._refine(nodes, step), None, ())

    def _refine(
        self, nodes: Tensor, step: Callable[[GraphLayer, Tensor], Tensor]
    ) -> tuple[Tensor, ...]:
        """Return the nodes after every layer, each of them a ``step``."""
        hidden = self._refine_inner(nodes, step)
        return (*hidden, step(self.last, (nodes, *hidden)[-1]))

    def _refine_inner(
        self, nodes: Tensor, step: Callable[[GraphLayer, Tensor], Tensor]
    ) -> list[Tensor]:
        """Return the nodes after every layer but the last."""
        x = nodes
        hidden = []
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, GraphLayer)
            x = self._activate(number, step(layer, x), x)
            hidden.append(x)
        return hidden

    def _activate(self, number: int, h: Tensor, before: Tensor) -> Tensor:
        """Return the nodes after a layer but the last: ``h`` its result, ``before`` its input."""
        assert self.batch_norm is not None
        h = self.batch_norm(h)
        if number == 0:
            return F.leaky_relu(h, inplace=True)
        # A factor that is not negative passes through LeakyReLU.
        return F.leaky_relu(self.dropout(h), inplace=True) + before


def _layer(head: HeadConfig, in_width: int, *, last: bool) -> GraphLayer:
    if head.gnn == "gcn":
        return DenseGCNLayer(in_width, head.hidden)
    if head.gnn == "sage":
        return DenseSAGELayer(in_width, head.hidden)
    heads = head.final_heads if last else head.heads
    return DenseGATLayer(in_width, head.hidden, heads, concat=not last)
