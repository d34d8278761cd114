"""The bank path against PyTorch Geometric on the graph that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hemogat.config import GraphConfig, HeadConfig
from hemogat.model.bank import (
    Embeddings,
    InductiveHead,
    freeze_bank,
    self_loops_only,
    transductive,
)
from hemogat.model.geometric import geometric_conv
from hemogat.model.head import FusionHead

BANK, QUERIES, AUDIO_DIM, TEXT_DIM, LABELS = 14, 5, 7, 9, 3
GRAPH = GraphConfig(k_audio=3, k_text=2)
Modalities = Literal["both", "audio", "text"]
PlainSearch = Callable[..., list[tuple[int, float]]]
Edges = list[tuple[int, int]]


class GeometricHead(nn.Module):
    """The authors' network on PyTorch Geometric, with the weights of one of our heads."""

    def __init__(self, head: FusionHead) -> None:
        super().__init__()
        self.head = head
        assert head.gnn is not None
        self.convs = nn.ModuleList(map(geometric_conv, (*head.gnn.layers, head.gnn.last)))

    def forward(self, e: Embeddings, edges: Edges) -> Tensor:
        head = self.head
        raw = {"audio": e.audio, "text": e.text}
        projected = {}
        for column, name in enumerate(("audio", "text")):
            if name in head.uses:
                there = e.present[:, column : column + 1]
                filled = (
                    torch.where(there, raw[name], head.missing[name]) if head.missing else raw[name]
                )
                projected[name] = head.projections[name](filled)
        used = [projected[m] for m in ("text", "audio") if m in projected]
        features = [self._graph(torch.cat(used, dim=1), torch.tensor(edges).T)]
        if head.config.modules == "no_cmt":
            pass
        elif len(used) == 2:
            t, a = used
            features += [head.cmt.audio_to_text(a, t), head.cmt.text_to_audio(t, a)]
        else:
            features.append(head.cmt(used[0], used[0]))
        logits: Tensor = head.mlp(torch.cat(features, dim=1))
        return logits

    def _graph(self, x: Tensor, edges: Tensor) -> Tensor:
        gnn = self.head.gnn
        assert gnn is not None
        *inner, last = self.convs
        for number, conv in enumerate(inner):
            assert gnn.batch_norm is not None
            h = F.leaky_relu(gnn.batch_norm(conv(x, edges)))
            x = h if number == 0 else h + x
        out: Tensor = last(x, edges)
        return out


def make_head(
    num_layers: int = 3, modalities: Modalities = "both", **settings: object
) -> FusionHead:
    config = HeadConfig.model_validate(
        {"hidden": 8, "heads": 4, "num_layers": num_layers, "modalities": modalities} | settings
    )
    head = FusionHead(AUDIO_DIM, TEXT_DIM, LABELS, config).eval()
    for name, value in (*head.named_parameters(), *head.named_buffers()):
        if value.is_floating_point():  # nothing at its initial value, where mistakes may cancel
            low, high = (0.5, 1.5) if "var" in name else (-0.5, 0.5)
            nn.init.uniform_(value, low, high)
    return head


def make_embeddings(rows: int, *, holes: bool) -> Embeddings:
    present = torch.ones(rows, 2, dtype=torch.bool)
    if holes:
        present[1::4, 0] = False
        present[2::4, 1] = False
    audio, text = torch.randn(rows, AUDIO_DIM), torch.randn(rows, TEXT_DIM)
    return Embeddings(audio * present[:, :1], text * present[:, 1:], present)


def together(bank: Embeddings, queries: Embeddings) -> Embeddings:
    return Embeddings(
        torch.cat([bank.audio, queries.audio]),
        torch.cat([bank.text, queries.text]),
        torch.cat([bank.present, queries.present]),
    )


@pytest.fixture
def edges_into(plain_nearest: PlainSearch) -> Callable[..., Edges]:
    """Return the edges that the paper's Eq. 5 to 7 give a node, self-loop included."""

    def edges(everyone: Embeddings, node: int, candidates: range, uses: str) -> Edges:
        found: set[int] = set()
        for column, (vectors, k, modality) in enumerate(
            ((everyone.audio, GRAPH.k_audio, "audio"), (everyone.text, GRAPH.k_text, "text"))
        ):
            if uses in ("both", modality) and everyone.present[node, column]:
                rows = [r for r in candidates if r != node and everyone.present[r, column]]
                values = vectors.double().numpy()
                found |= {row for row, _ in plain_nearest(values[node], values, rows, k)}
        return [(row, node) for row in sorted(found)] + [(node, node)]

    return edges


@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("modalities", ["both", "audio", "text"])
@pytest.mark.parametrize("gnn", ["gat", "gcn", "sage"])
@pytest.mark.parametrize("modules", ["full", "no_cmt"])
def test_the_bank_path_is_the_graph_with_the_bank_in_it(
    num_layers: int,
    modalities: Modalities,
    gnn: str,
    modules: str,
    edges_into: Callable[..., Edges],
) -> None:
    """Edges: bank to bank, bank to query, and the queries' self-loops."""
    torch.manual_seed(num_layers)
    head = make_head(num_layers, modalities, gnn=gnn, modules=modules)
    bank, queries = make_embeddings(BANK, holes=False), make_embeddings(QUERIES, holes=False)
    everyone = together(bank, queries)
    edges = [
        edge
        for node in range(BANK + QUERIES)
        for edge in edges_into(everyone, node, range(BANK), modalities)
    ]
    assert not any(source >= BANK > target for source, target in edges)

    inductive = InductiveHead(head, freeze_bank(head, bank, GRAPH), GRAPH).eval()
    with torch.no_grad():
        expected = GeometricHead(head)(everyone, edges)[BANK:]
        found = inductive(queries.audio, queries.text, queries.present)

    torch.testing.assert_close(found.logits, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.probabilities, expected.softmax(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("final_heads", [1, 4])
def test_the_bank_path_with_absent_modalities(
    final_heads: int, edges_into: Callable[..., Edges]
) -> None:
    torch.manual_seed(final_heads)
    head = make_head(modality_dropout=0.3, final_heads=final_heads)
    bank, queries = make_embeddings(BANK, holes=True), make_embeddings(QUERIES, holes=True)
    everyone = together(bank, queries)
    edges = [
        edge
        for node in range(BANK + QUERIES)
        for edge in edges_into(everyone, node, range(BANK), "both")
    ]
    inductive = InductiveHead(head, freeze_bank(head, bank, GRAPH), GRAPH).eval()
    with torch.no_grad():
        expected = GeometricHead(head)(everyone, edges)[BANK:]
        found = inductive(queries.audio, queries.text, queries.present).logits
        # What stands in an absent modality's place is never read.
        noise = Embeddings(
            torch.where(queries.present[:, :1], queries.audio, torch.tensor(7.0)),
            torch.where(queries.present[:, 1:], queries.text, torch.tensor(7.0)),
            queries.present,
        )
        again = inductive(noise.audio, noise.text, noise.present).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again, found)


def test_the_transductive_graph_is_geometrics(edges_into: Callable[..., Edges]) -> None:
    torch.manual_seed(0)
    head = make_head()
    e = make_embeddings(BANK, holes=False)
    edges = [edge for node in range(BANK) for edge in edges_into(e, node, range(BANK), "both")]
    with torch.no_grad():
        expected = GeometricHead(head)(e, edges)
        found = transductive(head, e, GRAPH).logits
        alone = self_loops_only(head, e).logits
        loops = GeometricHead(head)(e, [(node, node) for node in range(BANK)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, loops, atol=1e-5, rtol=1e-5)
    assert (found - alone).abs().max() > 1e-3  # the graph does something


@pytest.mark.parametrize("modalities", ["both", "audio", "text"])
def test_a_head_without_a_graph_needs_no_neighbours(modalities: Modalities) -> None:
    torch.manual_seed(0)
    head = make_head(modalities=modalities, modules="no_gnn")
    bank = freeze_bank(head, make_embeddings(1, holes=False), GRAPH)  # fewer rows than k
    e = make_embeddings(QUERIES, holes=False)
    with torch.no_grad():
        found = InductiveHead(head, bank, GRAPH).eval()(e.audio, e.text, e.present)
        alone = self_loops_only(head, e).logits
    assert bank.states == ()
    assert found.neighbours.shape == (QUERIES, 0)
    torch.testing.assert_close(found.logits, alone)


def test_an_answer_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    head = make_head(modality_dropout=0.3)
    bank = freeze_bank(head, make_embeddings(BANK, holes=True), GRAPH)
    inductive = InductiveHead(head, bank, GRAPH).eval()
    e = make_embeddings(QUERIES, holes=True)
    with torch.no_grad():
        whole = inductive(e.audio, e.text, e.present)
        order = torch.randperm(QUERIES)
        shuffled = inductive(e.audio[order], e.text[order], e.present[order])
        for row in range(QUERIES):
            one = slice(row, row + 1)
            alone = inductive(e.audio[one], e.text[one], e.present[one])
            for name, value in alone._asdict().items():
                torch.testing.assert_close(value, getattr(whole, name)[one], atol=1e-6, rtol=0)
    torch.testing.assert_close(shuffled.logits, whole.logits[order], atol=1e-6, rtol=0)


def test_freezing_keeps_the_heads_training_statistics() -> None:
    torch.manual_seed(0)
    head = make_head().train()
    before = {name: value.clone() for name, value in head.state_dict().items()}
    freeze_bank(head, make_embeddings(BANK, holes=False), GRAPH)
    assert not head.training
    for name, value in head.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("modules", ["full", "no_gnn"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_what_is_sent_is_what_a_forward_pass_sends(num_layers: int, modules: str) -> None:
    torch.manual_seed(0)
    head = make_head(num_layers, modules=modules)
    e, slots = make_embeddings(BANK, holes=False), torch.arange(BANK).roll(1).unsqueeze(1)
    with torch.no_grad():
        expected = head(e.audio, e.text, e.present, slots).states
        found = head.send(e.audio, e.text, e.present, slots)
    assert len(found) == (0 if modules == "no_gnn" else num_layers)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
