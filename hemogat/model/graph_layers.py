"""Graph layers on dense neighbour slots: what PyTorch Geometric computes, without scatter.

Each layer works in two steps, so that a bank can keep the first one's result: ``project`` is what
a node sends to its neighbours, ``aggregate`` is what a node makes of itself and of what it gets.
``propagate`` is ``aggregate`` where the neighbours are among the nodes themselves: it reads their
states in place instead of copying them into every slot, which makes training several times faster.

Shapes, the same for every layer:
    x: [N, in_width]
    mask: bool [N, K], true where a slot holds a neighbour
    states: [N, state_width], from ``project``
    neighbour_states: [N, K, state_width], those of each node's neighbours
    slots: int64 [N, K], the neighbours' rows; a masked slot holds any row
    result: [N, width]
    attention: [N, K + 1], mean over heads, the last column the node itself; None where a layer
        has none
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Aggregated = tuple[Tensor, Tensor | None]


class GraphLayer(nn.Module, ABC):
    """One step of message passing."""

    state_width: int  # floats per node that neighbours need of it

    @abstractmethod
    def project(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return what each node sends."""

    @abstractmethod
    def aggregate(
        self, x: Tensor, states: Tensor, neighbour_states: Tensor, mask: Tensor
    ) -> Aggregated:
        """Return each node's new features and its attention."""

    @abstractmethod
    def propagate(
        self, x: Tensor, states: Tensor, slots: Tensor, mask: Tensor, rows: Tensor | None = None
    ) -> Aggregated:
        """Return the same, the neighbours being among the nodes.

        ``rows``: of which nodes int64 [R], ``slots`` and ``mask`` being theirs; None: of all.
        """


class DenseGATLayer(GraphLayer):
    r"""Graph attention over neighbour slots and the node itself (paper Eq. 9 and 10).

    .. math::
        x'_i = \Big\Vert_{h=1}^{H} \sum_{j \in N_i \cup \{i\}} \alpha^h_{ij} W^h x_j, \qquad
        \alpha^h_{ij} = \mathrm{softmax}_j\, \mathrm{LeakyReLU}_{0.2}
        (a^h_{src} \cdot W^h x_j + a^h_{dst} \cdot W^h x_i)

    With ``concat=False`` the heads are averaged (Eq. 10). The nonlinearity that Eq. 9 writes
    around the sum belongs to the stack. Parameters have the shapes and names of
    ``torch_geometric.nn.GATConv``, whose output this equals on the same edges.
    """

    def __init__(self, in_width: int, out_width: int, heads: int, *, concat: bool) -> None:
        super().__init__()
        self.heads = heads
        self.out_width = out_width
        self.concat = concat
        self.state_width = heads * out_width
        self.lin = nn.Linear(in_width, heads * out_width, bias=False)
        self.att_src = nn.Parameter(torch.empty(1, heads, out_width))
        self.att_dst = nn.Parameter(torch.empty(1, heads, out_width))
        self.bias = nn.Parameter(torch.zeros(heads * out_width if concat else out_width))
        for weight in (self.lin.weight, self.att_src, self.att_dst):
            nn.init.xavier_uniform_(weight)

    def project(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return W x."""
        projected: Tensor = self.lin(x)
        return projected

    def aggregate(
        self, x: Tensor, states: Tensor, neighbour_states: Tensor, mask: Tensor
    ) -> Aggregated:
        """Attend to the neighbours and to the node itself."""
        senders = torch.cat([neighbour_states, states.unsqueeze(1)], dim=1)
        senders = senders.reshape(
            *senders.shape[:2], self.heads, self.out_width
        )  # [N, K + 1, H, C]
        scores = (senders * self.att_src.unsqueeze(1)).sum(-1)  # [N, K + 1, H]
        own = (self._by_head(states) * self.att_dst).sum(-1)  # [N, H]
        attention = self._attention(scores, own, mask)
        # Not an einsum: ONNX Runtime moves all states twice for one.
        heads = (senders * attention.unsqueeze(3)).sum(dim=1)
        return self._output(heads, attention)

    def propagate(
        self, x: Tensor, states: Tensor, slots: Tensor, mask: Tensor, rows: Tensor | None = None
    ) -> Aggregated:
        """Attend to the neighbours among the nodes and to the node itself."""
        itself = torch.arange(len(states), device=states.device) if rows is None else rows
        senders = torch.cat([slots, itself.unsqueeze(1)], dim=1)  # [N, K + 1]
        sent, own = self._scores(x)
        own = _of(own, rows)
        attention = self._attention(F.embedding(senders, sent), own, mask)
        heads = self._by_head(_weighted_sum(states, senders, attention))
        return self._output(heads, attention)

    def _scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both shares of the scores, [N, H] each: that of a sender, that of who attends.

        a · (W x) is (W^T a) · x: two numbers per head and node without a pass over the states,
        nor over their gradients.
        """
        by_head = self.lin.weight.view(self.heads, self.out_width, -1)
        both = torch.cat([self.att_src, self.att_dst]).transpose(0, 1)  # [H, 2, C]
        scores = F.linear(x, (both @ by_head).flatten(0, 1)).view(-1, self.heads, 2)
        return scores[..., 0], scores[..., 1]

    def _by_head(self, states: Tensor) -> Tensor:
        return states.reshape(-1, self.heads, self.out_width)  # [N, H, C]

    @staticmethod
    def _attention(scores: Tensor, own: Tensor, mask: Tensor) -> Tensor:
        """Return [N, K + 1, H] from the senders' scores, the node itself last, and its own."""
        scores = F.leaky_relu(scores + own.unsqueeze(1), 0.2)
        self_loop = mask.new_ones(mask.shape[0], 1)
        kept = torch.cat([mask, self_loop], dim=1).unsqueeze(2)  # [N, K + 1, 1]
        return scores.masked_fill(~kept, -1e9).softmax(dim=1)

    def _output(self, heads: Tensor, attention: Tensor) -> Aggregated:
        out = heads.flatten(1) if self.concat else heads.mean(dim=1)
        return out + self.bias, attention.mean(dim=2)


class DenseGCNLayer(GraphLayer):
    r"""Graph convolution with symmetric normalisation (the paper's GCN variant, Table 5).

    .. math::
        x'_i = \frac{1}{\sqrt{d_i}} \sum_{j \in N_i \cup \{i\}} \frac{W x_j}{\sqrt{d_j}} + b,
        \qquad d_i = |N_i| + 1

    A node sends :math:`W x_j / \sqrt{d_j}`, so a bank keeps its rows' degrees within their
    states. Equals ``torch_geometric.nn.GCNConv`` on the same edges.
    """

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.state_width = out_width
        self.lin = nn.Linear(in_width, out_width, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_width))
        nn.init.xavier_uniform_(self.lin.weight)

    def project(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return W x, scaled by the node's own degree."""
        projected: Tensor = self.lin(x) * _degree(mask).rsqrt()
        return projected

    def aggregate(
        self, x: Tensor, states: Tensor, neighbour_states: Tensor, mask: Tensor
    ) -> Aggregated:
        """Sum over the neighbours and the node itself."""
        return self._output(states + _masked_sum(neighbour_states, mask), mask)

    def propagate(
        self, x: Tensor, states: Tensor, slots: Tensor, mask: Tensor, rows: Tensor | None = None
    ) -> Aggregated:
        """Sum over the neighbours among the nodes and the node itself."""
        received = _weighted_sum(states, slots, mask.unsqueeze(2))
        return self._output(_of(states, rows) + received, mask)

    def _output(self, total: Tensor, mask: Tensor) -> Aggregated:
        return total * _degree(mask).rsqrt() + self.bias, None


class DenseSAGELayer(GraphLayer):
    r"""GraphSAGE with mean aggregation (the paper's GraphSAGE variant, Table 5).

    .. math::
        x'_i = W_l\, \mathrm{mean}_{j \in N_i \cup \{i\}}\, x_j + b + W_r x_i

    A node sends :math:`W_l x_j`: the mean of projections is the projection of the mean. Equals
    ``torch_geometric.nn.SAGEConv`` on the same edges, self-loops among them.
    """

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.state_width = out_width
        self.lin_l = nn.Linear(in_width, out_width)
        self.lin_r = nn.Linear(in_width, out_width, bias=False)

    def project(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return W_l x."""
        return F.linear(x, self.lin_l.weight)

    def aggregate(
        self, x: Tensor, states: Tensor, neighbour_states: Tensor, mask: Tensor
    ) -> Aggregated:
        """Average over the neighbours and the node itself, and add the root."""
        return self._output(x, states + _masked_sum(neighbour_states, mask), mask)

    def propagate(
        self, x: Tensor, states: Tensor, slots: Tensor, mask: Tensor, rows: Tensor | None = None
    ) -> Aggregated:
        """Average over the neighbours among the nodes and the node itself, and add the root."""
        received = _weighted_sum(states, slots, mask.unsqueeze(2))
        return self._output(_of(x, rows), _of(states, rows) + received, mask)

    def _output(self, x: Tensor, total: Tensor, mask: Tensor) -> Aggregated:
        return total / _degree(mask) + self.lin_l.bias + self.lin_r(x), None


def _of(values: Tensor, rows: Tensor | None) -> Tensor:
    return values if rows is None else values[rows]


def _degree(mask: Tensor) -> Tensor:
    """Return each node's number of senders, itself among them: float [N, 1]."""
    return mask.sum(dim=1, keepdim=True).to(torch.float32) + 1.0


def _masked_sum(neighbour_states: Tensor, mask: Tensor) -> Tensor:
    return (neighbour_states * mask.unsqueeze(2)).sum(dim=1)


def _weighted_sum(states: Tensor, slots: Tensor, weights: Tensor) -> Tensor:
    """Sum the rows ``slots`` [N, K] of ``states`` [M, H * C], weighted by head: [N, H * C].

    ``weights`` [N, K, H]. An embedding bag reads each row where it stands, so that no
    [N, K, H * C] tensor is made, neither here nor in the backward pass.
    """
    nodes, _, heads = weights.shape
    table = states.reshape(len(states) * heads, -1)
    if not slots.shape[1]:
        return states.new_zeros(nodes, states.shape[1])
    head = torch.arange(heads, device=slots.device).view(1, heads, 1)
    bags = (slots.unsqueeze(1) * heads + head).flatten(0, 1)  # [N * H, K]
    by_bag = weights.transpose(1, 2).flatten(0, 1).to(states.dtype)
    summed = F.embedding_bag(bags, table, mode="sum", per_sample_weights=by_bag)
    return summed.view(nodes, -1)
