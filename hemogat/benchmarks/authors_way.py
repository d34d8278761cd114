"""One new utterance the authors' way: a new graph over all nodes, and a forward of all of them.

As in their evaluation (``nhut-ngnn/HemoGAT``): for every node, cosine similarities to all nodes are
sorted and the next k taken as edges, node by node; then the whole network runs on that edge list
through PyTorch Geometric.
"""

from __future__ import annotations

import time

import numpy as np
import torch
import torch_geometric.nn  # noqa: F401 - here, so that no round times its import
from torch import Tensor

from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.random_heads import build_head, clustered_embeddings
from hemogat.benchmarks.statistics import LatencySummary, latency_figures, summarise
from hemogat.config import GraphConfig, Settings
from hemogat.model.bank import transductive


class TransductiveLatency(Settings):
    """One new utterance among ``nodes`` nodes: graph and forward together.

    ``threads``: that torch was limited to; None: as many as there are cores.
    """

    nodes: int
    threads: int | None = None
    authors_graph: LatencySummary
    authors_forward: LatencySummary
    authors_total: LatencySummary
    ours_total: LatencySummary

    def figures(self) -> list[Figure]:
        """Return the authors' way, by part and in all, and our path."""
        parts = {
            ("authors' way", "graph"): self.authors_graph,
            ("authors' way", "forward"): self.authors_forward,
            ("authors' way", "graph and forward"): self.authors_total,
            ("our transductive path", "graph and forward"): self.ours_total,
        }
        axes: dict[str, str | int] = {"nodes": self.nodes}
        axes |= {} if self.threads is None else {"threads": self.threads}
        return [
            figure
            for (target, component), summary in parts.items()
            for figure in latency_figures(target, summary, axes | {"component": component})
        ]


def measure_authors_way(
    reference_rows: int, rounds: int, threads: int | None = None
) -> TransductiveLatency:
    """Time graph and forward over the reference rows and one new utterance, rounds interleaved.

    ``threads``: of torch in this process while it lasts; None: as many as it has.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return _measured(reference_rows, rounds, threads)
    finally:
        torch.set_num_threads(before)


def _measured(reference_rows: int, rounds: int, threads: int | None) -> TransductiveLatency:
    head, _ = build_head(16)
    nodes = clustered_embeddings(reference_rows + 1)
    graph = GraphConfig()
    graph_ms, forward_ms, ours_ms = [], [], []
    with torch.no_grad():
        for _ in range(rounds):
            started = time.perf_counter()
            edges = authors_edges(nodes.audio, nodes.text, graph.k_audio, graph.k_text)
            built = time.perf_counter()
            head.forward_edges(nodes.audio, nodes.text, nodes.present, edges)
            ended = time.perf_counter()
            transductive(head, nodes, graph)
            graph_ms.append(1e3 * (built - started))
            forward_ms.append(1e3 * (ended - built))
            ours_ms.append(1e3 * (time.perf_counter() - ended))
    return TransductiveLatency(
        nodes=reference_rows + 1,
        threads=threads,
        authors_graph=summarise(graph_ms),
        authors_forward=summarise(forward_ms),
        authors_total=summarise([g + f for g, f in zip(graph_ms, forward_ms, strict=True)]),
        ours_total=summarise(ours_ms),
    )


def authors_edges(audio: Tensor, text: Tensor, k_audio: int, k_text: int) -> Tensor:
    """Return edges (i, j), j among the k nearest of i by rank, self-loops included.

    Shapes:
        audio, text: [N, d_a], [N, d_t]
        result: int64 [2, E]
    """
    edges = {(i, i) for i in range(len(audio))}
    for embeddings, k in ((text, k_text), (audio, k_audio)):
        rows = embeddings.numpy()
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for i, similarities in enumerate(unit @ unit.T):
            nearest = np.argsort(-similarities)[1 : k + 1]  # the first is taken for i itself
            edges |= {(i, int(j)) for j in nearest}
    return torch.tensor(sorted(edges)).T
