"""Evaluation of a run: each way to give an utterance a graph, and the controls."""

from __future__ import annotations

import torch

from hemogat.config import GraphConfig
from hemogat.contract import Direction
from hemogat.data.manifest import Split
from hemogat.errors import InputError
from hemogat.model.bank import (
    Embeddings,
    InductiveHead,
    freeze_bank,
    self_loops_only,
    transductive,
)
from hemogat.model.topk_graph import normalise
from hemogat.training.metrics import Evaluation, Metrics, measure
from hemogat.training.run_directory import FULL, RunDirectory


@torch.no_grad()
def evaluate_run(
    run: RunDirectory, split: Split = "test", direction: Direction | None = None
) -> Evaluation:
    """Evaluate every head of a run on the stored embeddings of ``split``.

    ``direction``: which way messages flow, None for the recipe's. Outgoing there is no bank, so
    that only the full head's transductive graph is left.

    Raises:
        InputError: the run has no utterances in ``split``.
        ConfigError: there is no bank, and the split is no larger than a graph's neighbours.
    """
    labels, graph = run.record.recipe.labels, run.record.recipe.graph
    if direction is not None:
        graph = graph.model_copy(update={"direction": direction})
    bank, features = run.features("train"), run.features(split)
    if not len(features.labels):
        raise InputError(f"{run.path}: has no utterances in split {split!r}; name another one")

    def metrics(logits: torch.Tensor) -> Metrics:
        return measure(features.labels.numpy(), logits.argmax(dim=1).numpy(), len(labels))

    def inductive(name: str) -> Metrics:
        head = run.head(name)
        module = InductiveHead(head, freeze_bank(head, bank.embeddings, graph), graph).eval()
        e = features.embeddings
        return metrics(module(e.audio, e.text, e.present).logits)

    full, e = run.head(FULL), features.embeddings
    has_bank = graph.direction == "incoming"
    graphs = {"inductive": inductive(FULL)} if has_bank else {}
    layer_cosine: tuple[float, ...] = ()
    if not has_bank or _can_be_linked(e, graph.used_by(full.config)):
        together = transductive(full, e, graph)
        graphs["transductive"] = metrics(together.logits)
        layer_cosine = tuple(mean_pairwise_cosine(nodes) for nodes in together.hidden)
    controls = {}
    if has_bank:
        graphs["self_loop"] = metrics(self_loops_only(full, e).logits)
        controls = {name: inductive(name) for name in run.record.heads if name != FULL}
    return Evaluation(
        split=split,
        labels=labels,
        graphs=graphs,
        controls=controls,
        layer_cosine=layer_cosine,
    )


def _can_be_linked(embeddings: Embeddings, graph: GraphConfig) -> bool:
    """Say whether every utterance finds its k neighbours among the others."""
    audio, text = embeddings.present.sum(dim=0).tolist()
    return len(embeddings) > 1 and graph.k_audio < max(audio, 1) and graph.k_text < max(text, 1)


def mean_pairwise_cosine(nodes: torch.Tensor) -> float:
    """Return the mean cosine similarity over all pairs of different rows of [N, d], N >= 2.

    The unit vectors' sum has the squared length N plus twice the sum over all pairs.
    """
    unit = normalise(nodes.double())
    count = len(unit)
    return float((unit.sum(dim=0).square().sum() - count) / (count * (count - 1)))
