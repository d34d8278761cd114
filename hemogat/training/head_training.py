"""Training of the fusion head on one graph over the training utterances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hemogat.config import GraphConfig, HeadConfig, OptimiserConfig
from hemogat.model.bank import Embeddings
from hemogat.model.head import HIDDEN, FusionHead
from hemogat.model.topk_graph import SearchTable, link_together, search_bank
from hemogat.progress import Progress
from hemogat.training.epoch import Epoch
from hemogat.training.loop import NOWHERE, StageFiles, Trainee, train_epochs
from hemogat.training.memory import keep_freed_memory
from hemogat.training.metrics import weighted_f1
from hemogat.training.products import fast_products
from hemogat.training.run_directory import Features

HIDDEN_LABELS = 0.5  # of the training utterances, drawn anew each epoch
_Flags = tuple[bool, bool]  # audio, text: what utterances that have both search with
_BOTH: _Flags = (True, True)
_ONE: tuple[_Flags, ...] = ((True, False), (False, True))


class TrainedHead(NamedTuple):
    """A head with the weights that validated best, in evaluation mode, and their weighted F1."""

    head: FusionHead
    validation_f1: float


class HeadGraphs:
    """The neighbours that heads train and validate with, searched once for all heads of a run.

    They stand on the raw embeddings, so neither a training step nor a seed changes them.

    Raises:
        ConfigError: (by every method) k is larger than the other training utterances that have the
            modality.
    """

    def __init__(self, train: Features, validation: Features) -> None:
        self.train = train
        self.validation = validation
        self._linked: dict[tuple[GraphConfig, _Flags], Tensor] = {}
        self._found: dict[tuple[GraphConfig, _Flags], Tensor] = {}
        self._of_modality: dict[str, HeadGraphs] = {}

    def for_head(self, head: HeadConfig) -> HeadGraphs:
        """Return the graphs of those utterances that ``Features.for_head`` gives."""
        train, validation = self.train.for_head(head), self.validation.for_head(head)
        if train is self.train and validation is self.validation:
            return self
        if head.modalities not in self._of_modality:
            self._of_modality[head.modalities] = HeadGraphs(train, validation)
        return self._of_modality[head.modalities]

    def linked(self, graph: GraphConfig, flags: _Flags = _BOTH) -> Tensor:
        """Return int64 [N, K]: training utterances that have both search with ``flags``."""
        if (graph, flags) not in self._linked:
            e = self.train.embeddings
            self._linked[graph, flags] = link_together(
                e.audio, e.text, e.present, graph, searching=_searching(e.present, flags)
            ).index
        return self._linked[graph, flags]

    def linked_with(self, graph: GraphConfig, present: Tensor) -> Tensor:
        """Return int64 [N, K]: training utterances search with ``present`` bool [N, 2]."""
        everything = self.linked(graph)
        had = self.train.embeddings.present
        if present.equal(had):
            return everything
        audio, text = (self.linked(graph, flags) for flags in _ONE)
        hidden = (present != had).any(dim=1, keepdim=True)
        return torch.where(hidden, torch.where(present[:, :1], audio, text), everything)

    def found(self, graph: GraphConfig, flags: _Flags = _BOTH) -> Tensor:
        """Return int64 [M, K]: bank rows for validation utterances that search with ``flags``."""
        if (graph, flags) not in self._found:
            q, e = self.validation.embeddings, self.train.embeddings
            audio = SearchTable.build(e.audio, e.present[:, 0])
            text = SearchTable.build(e.text, e.present[:, 1])
            present = _searching(q.present, flags)
            found = search_bank(q.audio, q.text, present, audio, text, graph)
            self._found[graph, flags] = found.index
        return self._found[graph, flags]


def train_head(
    name: str,
    train: Features,
    validation: Features,
    labels: int,
    head_config: HeadConfig,
    graph: GraphConfig,
    config: OptimiserConfig,
    progress: Progress,
    *,
    graphs: HeadGraphs | None = None,
    files: StageFiles = NOWHERE,
) -> TrainedHead:
    """Train a head where its features are; all randomness is torch's global generator.

    The whole training graph is one batch, as in the authors' code. Each epoch hides a modality of
    ``modality_dropout`` of the utterances, which then search with the other one only. Validation
    is what serving does: neighbours from the bank of training utterances. Its weighted F1 picks
    the epoch; Adam's rate drops tenfold on a plateau. A head with modality dropout is validated on
    what it will be asked: ``modality_dropout`` of the score is that of the same utterances with
    audio only and with text only. A head of one modality trains and validates on the utterances
    that have it. With ``graph.labels`` each epoch hides the labels of ``HIDDEN_LABELS`` of the
    utterances from everyone and learns from those; the others send theirs.

    Args:
        name: of the head, for the progress bar.
        train, validation: embeddings and labels of both splits.
        labels: how many there are.
        head_config, graph, config: the head, its neighbours and its optimiser.
        progress: where the bar is drawn.
        graphs: the neighbours, if other heads of the same features were or will be trained.
        files: checkpoint and logs.

    Raises:
        ConfigError: k is larger than the other training utterances that have the modality.
    """
    graphs = (graphs or HeadGraphs(train, validation)).for_head(head_config)
    train = graphs.train
    e = train.embeddings
    if e.audio.device.type == "cpu":
        keep_freed_memory()
    used = graph.used_by(head_config)
    graphs.linked(used)  # refuses a k that is too large
    head = FusionHead(
        e.audio.shape[1], e.text.shape[1], labels, head_config, label_messages=used.labels
    ).to(e.audio.device)
    optimiser = torch.optim.Adam(
        head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, mode="max", factor=0.1, patience=max(1, config.patience // 2)
    )

    checked = _Validation.of(graphs, used, head_config.modality_dropout)

    def train_epoch(_: Epoch) -> float:
        present = _hide_modalities(e.present, head_config.modality_dropout)
        neighbours = graphs.linked_with(used, present)
        if used.labels:
            asked, visible = _hide_labels(train.labels)
            output = head(e.audio, e.text, present, neighbours, visible_labels=visible)
            logits, truth = output.logits[asked], train.labels[asked]
        else:
            logits, truth = head(e.audio, e.text, present, neighbours).logits, train.labels
        loss = F.cross_entropy(logits, truth, label_smoothing=config.label_smoothing)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    with fast_products(), progress.stage(f"Train head ({name})", config.epochs) as stage:
        best = train_epochs(
            Trainee(head, optimiser, schedule),
            config,
            train_epoch,
            lambda: checked.score(head),
            stage,
            files=files,
        )
    return TrainedHead(head, best)


def _hide_modalities(present: Tensor, rate: float) -> Tensor:
    """Hide one modality, audio or text alike often, of ``rate`` of the rows that have both."""
    draws = torch.rand(2, len(present)).to(present.device)  # the same on every device
    hidden = (draws[0] < rate) & present.all(dim=1)
    audio = draws[1] < 0.5
    return present & ~torch.stack([hidden & audio, hidden & ~audio], dim=1)


def _hide_labels(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Draw ``HIDDEN_LABELS`` of the rows: return their numbers, and labels that hide theirs."""
    order = torch.randperm(len(labels)).to(labels.device)  # the same on every device
    asked = order[: math.ceil(HIDDEN_LABELS * len(labels))]
    visible = labels.clone()
    visible[asked] = HIDDEN
    return asked, visible


def _searching(present: Tensor, flags: _Flags) -> Tensor:
    """Return ``present`` [N, 2] with the rows that have both reduced to ``flags``."""
    kept = torch.tensor(flags, device=present.device)
    return torch.where(present.all(dim=1, keepdim=True), kept, present)


@dataclass(frozen=True)
class _Validation:
    """Bank and validation utterances in one table, linked as serving links them.

    Bank rows come first, then the validation utterances once for each of ``shares``, what they
    search with: how much its weighted F1 counts.
    """

    bank: int
    asked: Embeddings
    neighbours: Tensor
    visible_labels: Tensor | None
    truth: NDArray[np.int64]
    shares: dict[_Flags, float]

    @classmethod
    def of(cls, graphs: HeadGraphs, graph: GraphConfig, hidden: float) -> _Validation:
        """Search for everyone once; ``hidden``: the head's modality dropout."""
        shares = {_BOTH: 1 - hidden} | (dict.fromkeys(_ONE, hidden / 2) if hidden else {})
        bank, e = graphs.train.embeddings, graphs.validation.embeddings
        times = len(shares)
        asked = Embeddings(
            torch.cat([bank.audio, e.audio.repeat(times, 1)]),
            torch.cat([bank.text, e.text.repeat(times, 1)]),
            torch.cat([bank.present, *(_searching(e.present, flags) for flags in shares)]),
        )
        neighbours = [graphs.linked(graph), *(graphs.found(graph, flags) for flags in shares)]
        visible = None
        if graph.labels:
            unknown = graphs.train.labels.new_full((times * len(e),), HIDDEN)
            visible = torch.cat([graphs.train.labels, unknown])
        truth = graphs.validation.labels.cpu().numpy()
        return cls(len(bank), asked, torch.cat(neighbours), visible, truth, shares)

    @torch.no_grad()
    def score(self, head: FusionHead) -> float:
        """Return the weighted F1 of what ``InductiveHead`` gives."""
        e = self.asked
        logits = head.classify_last(
            e.audio,
            e.text,
            e.present,
            self.neighbours,
            len(e) - self.bank,
            visible_labels=self.visible_labels,
        )
        predicted = logits.argmax(dim=1).cpu().numpy().reshape(len(self.shares), -1)
        return sum(
            share * weighted_f1(self.truth, labels)
            for labels, share in zip(predicted, self.shares.values(), strict=True)
        )
