"""Parameters and multiply-accumulates (MACs), counted, not estimated.

torch's counter sees matrix products and convolutions. Elementwise work is not counted, as nowhere
in the field.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hemogat.model.graph_layers import GraphLayer
from hemogat.model.head import FusionHead


def count_macs(run: Callable[[], object]) -> dict[str, int]:
    """Return the MACs of ``run`` by operator."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    counted = counter.get_flop_counts()["Global"]
    return {str(operator): flops // 2 for operator, flops in counted.items()}


def head_macs(
    head: FusionHead, audio_dim: int, text_dim: int, nodes: int, slots: int
) -> dict[str, int]:
    """Return the MACs of ``head``, in evaluation mode, by operator.

    The neighbours' states are at hand, as from a bank. A node of a whole graph costs the same:
    every node is projected once, whoever reads it.
    """
    layers = [] if head.gnn is None else [*head.gnn.layers, head.gnn.last]
    states = [
        torch.zeros(1, layer.state_width) for layer in layers if isinstance(layer, GraphLayer)
    ]
    return count_macs(
        lambda: head(
            torch.zeros(nodes, audio_dim),
            torch.zeros(nodes, text_dim),
            torch.ones(nodes, 2, dtype=torch.bool),
            torch.zeros(nodes, slots, dtype=torch.int64),
            states,
        )
    )


def parameter_count(module: nn.Module) -> int:
    """Return how many numbers ``module`` learns."""
    return sum(parameter.numel() for parameter in module.parameters())
