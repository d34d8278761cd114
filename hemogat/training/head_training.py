"""Training of the fusion head on one graph over the training utterances."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from hemogat.config import GraphConfig, HeadConfig, OptimiserConfig
from hemogat.model.head import FusionHead
from hemogat.model.topk_graph import SearchTable, link_together, search_bank
from hemogat.progress import Progress
from hemogat.training.metrics import measure
from hemogat.training.run_directory import Features


class TrainedHead(NamedTuple):
    """A head with the weights that validated best, in evaluation mode, and their weighted F1."""

    head: FusionHead
    validation_f1: float


def train_head(
    name: str,
    train: Features,
    validation: Features,
    labels: int,
    head_config: HeadConfig,
    graph: GraphConfig,
    config: OptimiserConfig,
    progress: Progress,
) -> TrainedHead:
    """Train a head; all randomness is torch's global generator.

    The whole training graph is one batch, as in the authors' code. Each epoch hides a modality of
    ``modality_dropout`` of the utterances, which then search with the other one only. Validation
    is what serving does: neighbours from the bank of training utterances. Its weighted F1 picks
    the epoch; Adam's rate drops tenfold on a plateau.

    Raises:
        ConfigError: k is larger than the other training utterances that have the modality.
    """
    e = train.embeddings
    head = FusionHead(e.audio.shape[1], e.text.shape[1], labels, head_config)
    graphs = _TrainingGraphs(train, graph.used_by(head_config))
    found = _found_in_bank(validation, train, graph.used_by(head_config))
    optimiser = torch.optim.Adam(
        head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, mode="max", factor=0.1, patience=max(1, config.patience // 2)
    )
    best, best_state, since_best = -1.0, copy.deepcopy(head.state_dict()), 0
    with progress.stage(f"Train head ({name})", config.epochs) as stage:
        for _ in range(config.epochs):
            head.train()
            present = _hide_modalities(e.present, head_config.modality_dropout)
            output = head(e.audio, e.text, present, graphs.neighbours(present))
            loss = F.cross_entropy(
                output.logits, train.labels, label_smoothing=config.label_smoothing
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            score = _validate(head, train, validation, labels, graphs.everything, found)
            schedule.step(score)
            stage.advance(note=f"loss {loss.item():.2f}, val w-F1 {score:.2f}")
            since_best += 1
            if score > best:
                best, best_state, since_best = score, copy.deepcopy(head.state_dict()), 0
            if since_best >= config.patience:
                break
    head.load_state_dict(best_state)
    return TrainedHead(head.eval(), best)


class _TrainingGraphs:
    """Neighbours of the training utterances for each set of modalities they may search with.

    The graph stands on the raw embeddings, so no training step changes it.
    """

    def __init__(self, train: Features, graph: GraphConfig) -> None:
        e = train.embeddings
        self._by_search = {
            flags: link_together(
                e.audio, e.text, e.present, graph, searching=e.present & torch.tensor(flags)
            ).index
            for flags in ((True, True), (True, False), (False, True))
        }

    @property
    def everything(self) -> Tensor:
        """Return int64 [N, K] for utterances that search with all they have, as a bank's do."""
        return self._by_search[True, True]

    def neighbours(self, present: Tensor) -> Tensor:
        """Return int64 [N, K] for utterances that search with ``present`` bool [N, 2]."""
        both, audio, text = self._by_search.values()
        only_one = torch.where(present[:, :1], audio, text)
        return torch.where(present.all(dim=1, keepdim=True), both, only_one)


def _hide_modalities(present: Tensor, rate: float) -> Tensor:
    """Hide one modality, audio or text alike often, of ``rate`` of the rows that have both."""
    hidden = (torch.rand(len(present)) < rate) & present.all(dim=1)
    audio = torch.rand(len(present)) < 0.5
    return present & ~torch.stack([hidden & audio, hidden & ~audio], dim=1)


def _found_in_bank(queries: Features, bank: Features, graph: GraphConfig) -> Tensor:
    """Return int64 [N, K], the bank rows that the queries are linked to."""
    q, e = queries.embeddings, bank.embeddings
    audio = SearchTable.build(e.audio, e.present[:, 0])
    text = SearchTable.build(e.text, e.present[:, 1])
    return search_bank(q.audio, q.text, q.present, audio, text, graph).index


@torch.no_grad()
def _validate(
    head: FusionHead,
    train: Features,
    validation: Features,
    labels: int,
    bank_neighbours: Tensor,
    found: Tensor,
) -> float:
    """Return the weighted F1 of what ``InductiveHead`` gives, with both searches done before."""
    head.eval()
    bank, e = train.embeddings, validation.embeddings
    states = head(bank.audio, bank.text, bank.present, bank_neighbours).states
    logits = head(e.audio, e.text, e.present, found, states).logits
    predicted = logits.argmax(dim=1)
    return measure(validation.labels.numpy(), predicted.numpy(), labels).weighted_f1
