from __future__ import annotations

from types import ModuleType

import torch

from hemogat.benchmarks.authors_way import authors_edges, measure_authors_way
from hemogat.benchmarks.random_heads import DIM, clustered_embeddings


def test_the_graph_is_the_authors(authors: ModuleType) -> None:
    nodes = clustered_embeddings(40)
    assert nodes.audio.shape == nodes.text.shape == (40, DIM)
    found = authors_edges(nodes.audio, nodes.text, 2, 3)
    expected = authors.authors_edges(nodes.audio, nodes.text, 2, 3)
    assert {*zip(*found.tolist(), strict=True)} == {*zip(*expected.tolist(), strict=True)}
    assert torch.equal(found, authors_edges(nodes.audio, nodes.text, 2, 3))


def test_both_ways_are_timed() -> None:
    found = measure_authors_way(20, 2)
    assert found.nodes == 21
    assert found.authors_total.n == found.ours_total.n == 2
    assert found.authors_total.p50_ms > found.authors_graph.p50_ms > 0
    assert all("threads" not in figure.axes for figure in found.figures())


def test_its_threads_are_limited_while_it_is_timed() -> None:
    before = torch.get_num_threads()
    found = measure_authors_way(20, 1, before + 1)
    assert torch.get_num_threads() == before
    assert {figure.axes["threads"] for figure in found.figures()} == {before + 1}
