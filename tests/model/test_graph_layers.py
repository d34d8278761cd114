from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.nn import GATConv, GCNConv, SAGEConv

from hemogat.model.geometric import edges_of as edge_list
from hemogat.model.geometric import geometric_conv
from hemogat.model.graph_layers import (
    DenseGATLayer,
    DenseGCNLayer,
    DenseSAGELayer,
    GraphLayer,
)

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


def dense(layer: GraphLayer, x: Tensor, slots: Tensor) -> tuple[Tensor, Tensor | None]:
    mask = slots >= 0
    states = layer.project(x, mask)
    rows = slots.clamp(min=0)
    out, attention = layer.propagate(x, states, rows, mask)
    gathered, gathered_attention = layer.aggregate(x, states, states[rows], mask)
    torch.testing.assert_close(out, gathered, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attention, gathered_attention, atol=1e-6, rtol=0)
    return out, attention


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
    assert attention is not None
    assert attention.tolist() == [[0, 0, 0, 0, 1]] * 3
    torch.testing.assert_close(found, ours.lin(x) + ours.bias)


def test_masked_slots_carry_no_gradient() -> None:
    ours, _ = layers(heads=2, concat=True, seed=0)
    states = torch.randn(1, ours.state_width)
    sent = torch.randn(1, 2, ours.state_width, requires_grad=True)
    x = torch.randn(1, IN_WIDTH)
    out, _ = ours.aggregate(x, states, sent, torch.tensor([[True, False]]))
    out.sum().backward()
    assert sent.grad is not None
    assert sent.grad[0, 0].abs().sum() > 0
    assert sent.grad[0, 1].abs().sum() == 0


@pytest.mark.parametrize("kind", [DenseGCNLayer, DenseSAGELayer])
@given(slots=neighbour_slots(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_equals_gcnconv_and_sageconv_on_the_same_edges(
    slots: Tensor, seed: int, kind: type[DenseGCNLayer] | type[DenseSAGELayer]
) -> None:
    torch.manual_seed(seed)
    ours = kind(IN_WIDTH, OUT_WIDTH)
    theirs: GCNConv | SAGEConv
    if isinstance(ours, DenseGCNLayer):
        torch.nn.init.normal_(ours.bias)
        theirs = GCNConv(IN_WIDTH, OUT_WIDTH)  # adds the self-loops itself
        edges = edges_of(slots)
    else:
        theirs = SAGEConv(IN_WIDTH, OUT_WIDTH)
        loops = torch.arange(len(slots)).expand(2, -1)
        edges = torch.cat([edges_of(slots), loops], dim=1)
    theirs.load_state_dict(ours.state_dict())  # same names, same shapes
    x = torch.randn(len(slots), IN_WIDTH)
    our_x, their_x = x.clone().requires_grad_(), x.clone().requires_grad_()

    found, attention = dense(ours, our_x, slots)
    expected = theirs(their_x, edges)

    assert attention is None
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    direction = torch.randn_like(expected)
    (found * direction).sum().backward()
    (expected * direction).sum().backward()
    torch.testing.assert_close(our_x.grad, their_x.grad, atol=1e-4, rtol=1e-4)
    for name, parameter in theirs.named_parameters():
        gradient = ours.get_parameter(name).grad
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gat", "gcn", "sage"])
def test_the_geometric_layer_shares_the_weights_and_the_answer(kind: str) -> None:
    torch.manual_seed(0)
    layer: GraphLayer = {
        "gat": DenseGATLayer(IN_WIDTH, OUT_WIDTH, 2, concat=True),
        "gcn": DenseGCNLayer(IN_WIDTH, OUT_WIDTH),
        "sage": DenseSAGELayer(IN_WIDTH, OUT_WIDTH),
    }[kind]
    slots = torch.tensor([[1, 2], [0, -1], [-1, -1], [0, 2]])
    x = torch.randn(4, IN_WIDTH)
    conv = geometric_conv(layer)
    found, _ = dense(layer, x, slots)
    torch.testing.assert_close(conv(x, edge_list(slots, "incoming")), found, atol=1e-5, rtol=1e-5)
    assert {p.data_ptr() for p in conv.parameters()} == {p.data_ptr() for p in layer.parameters()}


def test_edges_flow_to_the_node_or_from_it() -> None:
    slots = torch.tensor([[1, -1], [-1, 0], [0, 1]])
    loops = {(0, 0), (1, 1), (2, 2)}
    incoming = {tuple(edge) for edge in edge_list(slots, "incoming").T.tolist()}
    outgoing = {tuple(edge) for edge in edge_list(slots, "outgoing").T.tolist()}
    assert incoming == {(1, 0), (0, 1), (0, 2), (1, 2)} | loops
    assert outgoing == {(j, i) for i, j in incoming}
