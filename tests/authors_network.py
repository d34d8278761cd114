"""The authors' network and graph, from their published structure: what an import must equal."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv


class CrossFusion(nn.Module):
    """Each modality asks the other; the block is named after the one that answers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        for answers in ("text", "audio"):
            attention = nn.MultiheadAttention(width, heads, dropout=0.3, batch_first=True)
            self.add_module(f"{answers}_attention", attention)
            self.add_module(f"{answers}_linear", nn.Linear(width, width))
            self.add_module(f"{answers}_layer_norm", nn.LayerNorm(width))

    def block(self, answers: str, asks: Tensor, answer: Tensor) -> Tensor:
        one = answer.unsqueeze(1)
        found, _ = self.get_submodule(f"{answers}_attention")(asks.unsqueeze(1), one, one)
        mixed = self.get_submodule(f"{answers}_linear")(found.squeeze(1)) + asks
        result: Tensor = self.get_submodule(f"{answers}_layer_norm")(mixed)
        return result


class GraphStack(nn.Module):
    """One batch norm for all layers; those between first and last have a residual."""

    def __init__(self, width: int, heads: int, layers: int, final_heads: int) -> None:
        super().__init__()
        wide = width * heads
        self.conv1 = GATConv(2 * width, width, heads=heads)
        self.convs = nn.ModuleList(GATConv(wide, width, heads=heads) for _ in range(layers - 2))
        self.conv_last = GATConv(wide, width, heads=final_heads, concat=False)
        self.batch_norm = nn.BatchNorm1d(wide)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        act = nn.functional.leaky_relu
        x = act(self.batch_norm(self.conv1(nodes, edges)))
        for conv in self.convs:
            x = act(self.batch_norm(conv(x, edges))) + x
        result: Tensor = self.conv_last(x, edges)
        return result


class MultiModalGNN(nn.Module):
    """The whole network, in evaluation mode and with weights that are nowhere trivial."""

    def __init__(
        self,
        width: int = 16,
        heads: int = 2,
        layers: int = 3,
        labels: int = 4,
        dims: tuple[int, int] = (12, 12),
        final_heads: int = 1,
    ) -> None:
        super().__init__()
        audio_dim, text_dim = dims
        self.text_projection = nn.Sequential(nn.Linear(text_dim, width), nn.BatchNorm1d(width))
        self.audio_projection = nn.Sequential(nn.Linear(audio_dim, width), nn.BatchNorm1d(width))
        self.cross_fusion = CrossFusion(width, heads)
        self.gnn = GraphStack(width, heads, layers, final_heads)
        self.mlp = nn.Sequential(
            nn.Linear(3 * width, width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(width, labels),
        )
        self._shuffle()
        self.eval()

    @torch.no_grad()
    def _shuffle(self) -> None:
        """Give what starts at 0 or 1 (biases, norms and their statistics) random values."""
        for name, value in (*self.named_parameters(), *self.named_buffers()):
            if name.endswith("num_batches_tracked"):
                value.fill_(7)
            elif value.ndim == 1:
                value.copy_(
                    torch.rand_like(value) + 0.5 if "var" in name else torch.randn_like(value)
                )

    def forward(self, text: Tensor, audio: Tensor, edges: Tensor) -> Tensor:
        t, a = self.text_projection(text).relu(), self.audio_projection(audio).relu()
        graph = self.gnn(torch.cat([t, a], dim=1), edges)
        asked_by_audio = self.cross_fusion.block("text", asks=a, answer=t)
        asked_by_text = self.cross_fusion.block("audio", asks=t, answer=a)
        result: Tensor = self.mlp(torch.cat([graph, asked_by_audio, asked_by_text], dim=1))
        return result


def authors_edges(audio: Tensor, text: Tensor, k_audio: int, k_text: int) -> Tensor:
    """Return edges (i, j), j among the k nearest of i: by rank, the first taken for i itself."""
    edges = {(i, i) for i in range(len(audio))}
    for embeddings, k in ((text, k_text), (audio, k_audio)):
        rows = embeddings.numpy()
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for i, similarities in enumerate(unit @ unit.T):
            edges |= {(i, int(j)) for j in np.argsort(-similarities)[1 : k + 1]}
    return torch.tensor(sorted(edges)).T


def write_features(path: Path, audio: Tensor, text: Tensor, labels: int = 4) -> None:
    """Write a feature file as their extraction does."""
    rows = [
        {"text_embed": t.clone(), "audio_embed": a.clone(), "label": torch.tensor(number % labels)}
        for number, (a, t) in enumerate(zip(audio, text, strict=True))
    ]
    path.write_bytes(pickle.dumps(rows))
