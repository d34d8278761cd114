"""The graph layers through PyTorch Geometric, on any edge list, with the same weights.

For graphs that slots cannot hold: with ``direction: outgoing``, the authors' code, a node gets
messages from all that have it among their neighbours, however many these are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hemogat.contract import Direction
from hemogat.model.graph_layers import DenseGATLayer, DenseGCNLayer, DenseSAGELayer, GraphLayer


def edges_of(neighbours: Tensor, direction: Direction) -> Tensor:
    """Return the edge list of a graph, self-loops included (paper Eq. 7).

    ``incoming``: messages flow from neighbour to node, as attention over neighbours is meant
    (Eq. 9). ``outgoing``: from the node to its neighbours, as the authors' code has it.

    Shapes:
        neighbours: int64 [N, K], -1 where masked
        result: int64 [2, E], sources and targets
    """
    nodes = torch.arange(len(neighbours), device=neighbours.device)
    owners = nodes.unsqueeze(1).expand_as(neighbours)
    linked = neighbours >= 0
    ends = torch.stack([neighbours[linked], owners[linked]])
    if direction == "outgoing":
        ends = ends.flip(0)
    return torch.cat([ends, nodes.expand(2, -1)], dim=1)


def geometric_conv(layer: GraphLayer) -> nn.Module:
    """Return PyTorch Geometric's layer, holding the very parameters of ``layer``."""
    # Here, as its import takes as long as torch's, and few graphs need it.
    from torch_geometric.nn import GATConv, GCNConv, SAGEConv

    conv: nn.Module
    if isinstance(layer, DenseGATLayer):
        conv = GATConv(
            layer.lin.in_features,
            layer.out_width,
            heads=layer.heads,
            concat=layer.concat,
            add_self_loops=False,
        )
        conv.att_src, conv.att_dst = layer.att_src, layer.att_dst
        conv.lin, conv.bias = layer.lin, layer.bias
    elif isinstance(layer, DenseGCNLayer):
        conv = GCNConv(layer.lin.in_features, layer.state_width, add_self_loops=False)
        conv.lin, conv.bias = layer.lin, layer.bias
    elif isinstance(layer, DenseSAGELayer):
        conv = SAGEConv(layer.lin_r.in_features, layer.state_width)
        conv.lin_l, conv.lin_r = layer.lin_l, layer.lin_r
    else:
        raise TypeError(f"no PyTorch Geometric layer for {type(layer).__name__}")
    return conv
