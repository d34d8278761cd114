"""The fusion head as users of PyTorch Geometric write it: what ours is compared with.

Modules are those of torch and PyTorch Geometric, named so that the weights of a ``FusionHead`` with
two modalities and GAT layers load into it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GATConv

from hemogat.config import HeadConfig


class CrossAttention(nn.Module):
    """One modality asks the other (paper Eq. 11, 12)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key_value: Tensor) -> Tensor:
        """Return ``query`` informed by ``key_value``, [N, width] both."""
        key = key_value.unsqueeze(1)
        attended, _ = self.attention(query.unsqueeze(1), key, key, need_weights=False)
        out: Tensor = self.dropout(self.norm(self.linear(attended.squeeze(1)) + query))
        return out


class GraphStack(nn.Module):
    """Graph attention layers on an edge list (paper Eq. 9, 10)."""

    def __init__(self, node_width: int, head: HeadConfig) -> None:
        super().__init__()
        wide = head.hidden * head.heads
        widths = (node_width, *(wide,) * (head.num_layers - 1))
        self.layers = nn.ModuleList(
            GATConv(width, head.hidden, heads=head.heads, add_self_loops=False)
            for width in widths[:-1]
        )
        self.last = GATConv(
            widths[-1], head.hidden, heads=head.final_heads, concat=False, add_self_loops=False
        )
        self.batch_norm = nn.BatchNorm1d(wide)
        self.dropout = nn.Dropout(head.dropout)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Return [N, hidden]; ``edges`` int64 [2, E], self-loops among them."""
        for number, layer in enumerate(self.layers):
            h = F.leaky_relu(self.batch_norm(layer(x, edges)))
            x = h if number == 0 else self.dropout(h) + x
        out: Tensor = self.last(x, edges)
        return out


class GeometricHead(nn.Module):
    """Projections, graph and cross-attention side by side, classifier (paper Fig. 1)."""

    def __init__(self, audio_dim: int, text_dim: int, labels: int, head: HeadConfig) -> None:
        super().__init__()
        width, dropout = head.hidden, head.dropout
        self.projections = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(dim, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)
                )
                for name, dim in (("audio", audio_dim), ("text", text_dim))
            }
        )
        self.cmt = nn.ModuleDict(
            {
                name: CrossAttention(width, head.heads, dropout)
                for name in ("audio_to_text", "text_to_audio")
            }
        )
        self.gnn = GraphStack(2 * width, head)
        self.mlp = nn.Sequential(
            nn.Linear(3 * width, width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, labels),
        )

    def forward(self, audio: Tensor, text: Tensor, edges: Tensor) -> Tensor:
        """Return logits [N, labels]."""
        a, t = self.projections["audio"](audio), self.projections["text"](text)
        graph = self.gnn(torch.cat([t, a], dim=1), edges)
        crossed = [self.cmt["audio_to_text"](a, t), self.cmt["text_to_audio"](t, a)]
        logits: Tensor = self.mlp(torch.cat([graph, *crossed], dim=1))
        return logits
