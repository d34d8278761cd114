"""Graph layers on dense neighbour slots: what PyTorch Geometric computes, without scatter.

Each layer works in two steps, so that a bank can keep the first one's result: ``project`` is what
a node sends to its neighbours, ``aggregate`` is what a node makes of itself and of what it gets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DenseGATLayer(nn.Module):
    r"""Graph attention over neighbour slots and the node itself (paper Eq. 9 and 10).

    .. math::
        x'_i = \Big\Vert_{h=1}^{H} \sum_{j \in N_i \cup \{i\}} \alpha^h_{ij} W^h x_j, \qquad
        \alpha^h_{ij} = \mathrm{softmax}_j\, \mathrm{LeakyReLU}_{0.2}
        (a^h_{src} \cdot W^h x_j + a^h_{dst} \cdot W^h x_i)

    With ``concat=False`` the heads are averaged (Eq. 10). The nonlinearity that Eq. 9 writes
    around the sum belongs to the stack. Parameters have the shapes and names of
    ``torch_geometric.nn.GATConv``, whose output this equals on the same edges.

    Shapes:
        x: [N, in_width]
        states: [N, heads * out_width], from :meth:`project`
        neighbour_states: [N, K, heads * out_width]
        mask: bool [N, K], true where the slot holds a neighbour
        result: [N, heads * out_width], or [N, out_width] with ``concat=False``
        attention: [N, K + 1], mean over heads, the last column the node itself
    """

    def __init__(self, in_width: int, out_width: int, heads: int, *, concat: bool) -> None:
        super().__init__()
        self.heads = heads
        self.out_width = out_width
        self.concat = concat
        self.lin = nn.Linear(in_width, heads * out_width, bias=False)
        self.att_src = nn.Parameter(torch.empty(1, heads, out_width))
        self.att_dst = nn.Parameter(torch.empty(1, heads, out_width))
        self.bias = nn.Parameter(torch.zeros(heads * out_width if concat else out_width))
        for weight in (self.lin.weight, self.att_src, self.att_dst):
            nn.init.xavier_uniform_(weight)

    @property
    def state_width(self) -> int:
        """Floats per node that neighbours need of it."""
        return self.heads * self.out_width

    def project(self, x: Tensor) -> Tensor:
        """Return what each node sends: W x."""
        projected: Tensor = self.lin(x)
        return projected

    def aggregate(
        self, states: Tensor, neighbour_states: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return each node's new features and its attention over slots and itself."""
        senders = torch.cat([neighbour_states, states.unsqueeze(1)], dim=1)
        senders = senders.reshape(
            *senders.shape[:2], self.heads, self.out_width
        )  # [N, K + 1, H, C]
        own = states.reshape(-1, self.heads, self.out_width)  # [N, H, C]
        scores = (senders * self.att_src.unsqueeze(1)).sum(-1)  # [N, K + 1, H]
        scores = F.leaky_relu(scores + (own * self.att_dst).sum(-1).unsqueeze(1), 0.2)
        self_loop = mask.new_ones(mask.shape[0], 1)
        kept = torch.cat([mask, self_loop], dim=1).unsqueeze(2)  # [N, K + 1, 1]
        attention = scores.masked_fill(~kept, -1e9).softmax(dim=1)
        heads = torch.einsum("nkhc,nkh->nhc", senders, attention)
        out = heads.flatten(1) if self.concat else heads.mean(dim=1)
        return out + self.bias, attention.mean(dim=2)
