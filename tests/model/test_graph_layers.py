from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.nn import GATConv

from hemogat.model.graph_layers import DenseGATLayer

IN_WIDTH, OUT_WIDTH = 6, 5


@st.composite
def neighbour_slots(draw: st.DrawFn) -> Tensor:
    """Slots [N, K] as the graph step gives them: distinct rows, -1 anywhere, isolated nodes."""
    nodes, slots = draw(st.integers(2, 9)), draw(st.integers(0, 6))
    rows = []
    for node in range(nodes):
        others = [other for other in range(nodes) if other != node]
        chosen = draw(st.permutations(others))[:slots]
        chosen += [-1] * (slots - len(chosen))
        kept = draw(st.lists(st.booleans(), min_size=slots, max_size=slots))
        rows.append([row if keep else -1 for row, keep in zip(chosen, kept, strict=True)])
    return torch.tensor(rows, dtype=torch.int64).reshape(nodes, slots)


def edges_of(slots: Tensor) -> Tensor:
    """PyTorch Geometric's edges: from the neighbour to the node."""
    pairs = [
        (int(neighbour), node)
        for node, row in enumerate(slots)
        for neighbour in row
        if neighbour >= 0
    ]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T


def dense(layer: DenseGATLayer, x: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    states = layer.project(x)
    return layer.aggregate(states, states[slots.clamp(min=0)], slots >= 0)


def layers(heads: int, concat: bool, seed: int) -> tuple[DenseGATLayer, GATConv]:
    torch.manual_seed(seed)
    ours = DenseGATLayer(IN_WIDTH, OUT_WIDTH, heads, concat=concat)
    torch.nn.init.normal_(ours.bias)
    theirs = GATConv(IN_WIDTH, OUT_WIDTH, heads=heads, concat=concat, add_self_loops=True)
    theirs.load_state_dict(ours.state_dict())  # same names, same shapes
    return ours, theirs


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("concat", [True, False])
@given(slots=neighbour_slots(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_equals_gatconv_on_the_same_edges(
    slots: Tensor, seed: int, heads: int, concat: bool
) -> None:
    ours, theirs = layers(heads, concat, seed)
    x = torch.randn(len(slots), IN_WIDTH)
    our_x, their_x = x.clone().requires_grad_(), x.clone().requires_grad_()

    found, attention = dense(ours, our_x, slots)
    expected, (edges, by_edge) = theirs(their_x, edges_of(slots), return_attention_weights=True)

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    by_pair = {(int(i), int(j)): w.mean() for (j, i), w in zip(edges.T, by_edge, strict=True)}
    for node, row in enumerate(slots):
        for slot, neighbour in enumerate([*row.tolist(), node]):
            weight = by_pair[node, neighbour] if neighbour >= 0 else torch.tensor(0.0)
            torch.testing.assert_close(attention[node, slot], weight, atol=1e-5, rtol=0)

    direction = torch.randn_like(expected)
    (found * direction).sum().backward()
    (expected * direction).sum().backward()
    torch.testing.assert_close(our_x.grad, their_x.grad, atol=1e-4, rtol=1e-4)
    for name, parameter in theirs.named_parameters():
        gradient = ours.get_parameter(name).grad
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-4, rtol=1e-4)


def test_an_isolated_node_attends_to_itself_alone() -> None:
    ours, _ = layers(heads=2, concat=True, seed=0)
    x = torch.randn(3, IN_WIDTH)
    found, attention = dense(ours, x, torch.full((3, 4), -1))
    assert attention.tolist() == [[0, 0, 0, 0, 1]] * 3
    torch.testing.assert_close(found, ours.project(x) + ours.bias)


def test_masked_slots_carry_no_gradient() -> None:
    ours, _ = layers(heads=2, concat=True, seed=0)
    states = torch.randn(1, ours.state_width)
    sent = torch.randn(1, 2, ours.state_width, requires_grad=True)
    out, _ = ours.aggregate(states, sent, torch.tensor([[True, False]]))
    out.sum().backward()
    assert sent.grad is not None
    assert sent.grad[0, 0].abs().sum() > 0
    assert sent.grad[0, 1].abs().sum() == 0
