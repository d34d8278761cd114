"""Evaluation of a run: each way to give an utterance a graph, the controls, and every seed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hemogat.config import GraphConfig, HeadConfig
from hemogat.contract import Direction
from hemogat.data.manifest import Split
from hemogat.errors import InputError
from hemogat.model.bank import Embeddings
from hemogat.model.geometric import edges_of
from hemogat.model.head import FusionHead, HeadOutput
from hemogat.model.topk_graph import SearchTable, link_together, normalise, search_bank
from hemogat.progress import Progress
from hemogat.training.evaluation_record import (
    Answers,
    Evaluation,
    GraphKind,
    Inputs,
    SplitAnswers,
    summarise_answers,
)
from hemogat.training.head_names import FULL
from hemogat.training.run_directory import (
    Features,
    RunDirectory,
)

_FEATURES = "what the classifier reads"
_ASKED_WITH: dict[Inputs, tuple[bool, bool]] = {
    "both": (True, True),
    "audio": (True, False),
    "text": (False, True),
}


def evaluate_run(
    run: RunDirectory,
    split: Split = "test",
    direction: Direction | None = None,
    progress: Progress | None = None,
    *,
    features: Features | None = None,
) -> Evaluation:
    """Evaluate every head of a run, with every seed, on the stored embeddings of ``split``.

    Arguments and errors are those of :func:`answer_split`.
    """
    return summarise_answers(answer_split(run, split, direction, progress, features=features))


@torch.no_grad()
def answer_split(
    run: RunDirectory,
    split: Split = "test",
    direction: Direction | None = None,
    progress: Progress | None = None,
    *,
    features: Features | None = None,
) -> SplitAnswers:
    """Ask every head of a run, with every seed, about ``split``.

    ``direction``: which way messages flow, None for the recipe's. Outgoing there is no bank, so
    that only the full head's transductive graph is left; where messages carry labels, which only
    a bank knows, there is no transductive one, and for a split of no more utterances than a
    graph's neighbours neither. A head that modality dropout trained is asked with one modality,
    too. ``features`` stand in for the run's own, such as the authors' published ones.

    Utterances of ``train`` stand in the bank: each is asked without itself among its neighbours, by
    index, as in training. What the neighbours send was still computed with it, so that by way of
    them its own label would come back to it where messages carry labels.

    Raises:
        InputError: the run has no utterances in ``split``, or that is ``train`` and messages carry
            labels.
        ConfigError: there is no bank, and the split is no larger than a graph's neighbours.
    """
    graph = run.record.recipe.graph
    if direction is not None:
        graph = graph.model_copy(update={"direction": direction})
    in_bank = split == "train" and features is None
    if in_bank and graph.labels:
        raise InputError(
            f"{run.path}: graph.labels is true, and an utterance of split 'train' would be told "
            f"its own label by its neighbours; evaluate val or test"
        )
    features = features or run.features(split)
    if not len(features.labels):
        raise InputError(f"{run.path}: has no utterances in split {split!r}; name another one")
    judge = _Judge(run, features, graph, in_bank=in_bank)
    seeds = run.record.seeds
    heads = run.record.heads if graph.direction == "incoming" else {FULL: run.record.heads[FULL]}
    rows: list[Answers] = []
    with (progress or Progress()).stage("Evaluate", len(heads) * len(seeds)) as stage:
        for name in heads:
            by_seed = []
            for seed in seeds:
                by_seed.append(judge.answers(name, seed))
                stage.advance(note=f"{name}, seed {seed}")
            rows += (
                _joined(name, judge.true(row), row, [found[row] for found in by_seed])
                for row in by_seed[0]
            )
    return SplitAnswers(
        name=run.record.recipe.name,
        split=split,
        labels=run.record.recipe.labels,
        seeds=seeds,
        best_seed=run.record.best_seed,
        features=_FEATURES,
        rows=tuple(rows),
        skipped=run.record.skipped,
    )


class _Row(NamedTuple):
    graph: GraphKind
    inputs: Inputs


class _Answer(NamedTuple):
    """What one head answers: probabilities [N, labels], features [N, width], cosine per layer.

    Only the exported seed's features are kept: five seeds' of every row would fill the memory.
    """

    probabilities: Tensor
    features: Tensor | None
    layer_cosine: list[float]


class _Judge:
    """Asks heads about one split; each neighbour search is done once for all of them.

    Neighbours depend on the embeddings and on how many a head reads, never on its weights.
    ``in_bank``: the split is the bank itself, whose utterances do not find themselves.
    """

    def __init__(
        self, run: RunDirectory, split: Features, graph: GraphConfig, *, in_bank: bool
    ) -> None:
        train = run.features("train")
        bank = train.embeddings
        self._run = run
        self._bank = bank
        self._bank_labels = train.labels
        self._split = split
        self._in_bank = in_bank
        self._graph = graph
        self._tables = (
            SearchTable.build(bank.audio, bank.present[:, 0]),
            SearchTable.build(bank.text, bank.present[:, 1]),
        )
        self._among_bank = cache(lambda used: _link_together(bank, used))
        self._among_split = cache(lambda used, inputs: _link_together(self._asked(inputs), used))
        self._from_bank = cache(self._search_bank)

    def answers(self, name: str, seed: int) -> dict[_Row, _Answer]:
        """Return what the head called ``name`` answers on every graph and for all inputs."""
        head = self._run.head(name, seed)
        used = self._graph.used_by(head.config)
        states = () if used.direction == "outgoing" else self._bank_states(head, used)
        keep = seed == self._run.record.best_seed
        return {
            row: self._answer(head, row, states, keep=keep) for row in self._rows(name, head.config)
        }

    def true(self, row: _Row) -> Tensor:
        """Return the label numbers [N] of the utterances that ``row`` is asked about."""
        return self._split.labels[self._has(row.inputs)]

    def _rows(self, name: str, head: HeadConfig) -> Iterator[_Row]:
        first, *_ = _inputs_of(head)
        for kind in self._graph_kinds(name):
            if not self._has_graph(kind, first, head):
                continue  # with one modality alone it may have: of no use without the whole
            for inputs in _inputs_of(head):
                if self._has_graph(kind, inputs, head):
                    yield _Row(kind, inputs)

    def _graph_kinds(self, name: str) -> tuple[GraphKind, ...]:
        if self._graph.direction == "outgoing":
            return ("transductive",)
        if name != FULL:
            return ("inductive",)
        if self._graph.labels:
            return ("inductive", "self_loop")
        return ("inductive", "transductive", "self_loop")

    def _has_graph(self, kind: GraphKind, inputs: Inputs, head: HeadConfig) -> bool:
        """Say whether some utterances have the inputs, and enough of them for the graph."""
        if kind == "transductive" and self._graph.direction == "incoming":
            used = _searchable(self._graph.used_by(head), inputs)
            return _can_be_linked(self._asked(inputs), used)
        return bool(self._has(inputs).any())

    def _answer(
        self, head: FusionHead, row: _Row, states: tuple[Tensor, ...], *, keep: bool
    ) -> _Answer:
        e, used = self._asked(row.inputs), _searchable(self._graph.used_by(head.config), row.inputs)
        features: list[Tensor] = []
        hook = head.mlp.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
        output: HeadOutput
        if row.graph == "self_loop":
            output = head(e.audio, e.text, e.present, _nobody(e))
        elif row.graph == "inductive":
            found = self._from_bank(used, row.inputs)
            output = head(e.audio, e.text, e.present, found, states)
        elif used.direction == "outgoing":
            edges = edges_of(self._among_split(used, row.inputs), "outgoing")
            output = head.forward_edges(e.audio, e.text, e.present, edges)
        else:
            output = head(e.audio, e.text, e.present, self._among_split(used, row.inputs))
        hook.remove()
        cosine = [mean_pairwise_cosine(nodes) for nodes in output.hidden] if len(e) > 1 else []
        return _Answer(output.logits.softmax(dim=1), features[0] if keep else None, cosine)

    def _bank_states(self, head: FusionHead, used: GraphConfig) -> tuple[Tensor, ...]:
        """Return what :func:`hemogat.model.bank.freeze_bank` keeps, without searching again."""
        e = self._bank
        labels = self._bank_labels if used.labels else None
        return head.send(e.audio, e.text, e.present, self._among_bank(used), visible_labels=labels)

    def _has(self, inputs: Inputs) -> Tensor:
        """Return bool [N]: which utterances of the split can be asked with ``inputs``."""
        return (self._split.embeddings.present & torch.tensor(_ASKED_WITH[inputs])).any(dim=1)

    def _asked(self, inputs: Inputs) -> Embeddings:
        """Return those utterances with nothing but ``inputs``."""
        e = self._split.embeddings[self._has(inputs)]
        return Embeddings(e.audio, e.text, e.present & torch.tensor(_ASKED_WITH[inputs]))

    def _search_bank(self, used: GraphConfig, inputs: Inputs) -> Tensor:
        if self._in_bank:
            searching = self._bank.present & torch.tensor(_ASKED_WITH[inputs])
            return _link_together(self._bank, used, searching)[self._has(inputs)]
        e = self._asked(inputs)
        if not used.slots:
            return _nobody(e)
        return search_bank(e.audio, e.text, e.present, *self._tables, used).index


def _joined(head: str, true: Tensor, row: _Row, by_seed: list[_Answer]) -> Answers:
    (features,) = (found.features for found in by_seed if found.features is not None)
    return Answers(
        head=head,
        graph=row.graph,
        inputs=row.inputs,
        true=true.numpy(),
        probabilities=np.stack([found.probabilities.numpy() for found in by_seed]),
        features=features.numpy(),
        layer_cosine=np.array([found.layer_cosine for found in by_seed]),
    )


def _inputs_of(head: HeadConfig) -> tuple[Inputs, ...]:
    """Return what a head can be asked with, all that it reads first."""
    if head.modalities != "both":
        return (head.modalities,)
    return ("both", "audio", "text") if head.modality_dropout else ("both",)


def _searchable(used: GraphConfig, inputs: Inputs) -> GraphConfig:
    """Return the neighbours that ``inputs`` can search: without a modality, none of it."""
    audio, text = _ASKED_WITH[inputs]
    return used.model_copy(update={"k_audio": used.k_audio * audio, "k_text": used.k_text * text})


def _link_together(e: Embeddings, used: GraphConfig, searching: Tensor | None = None) -> Tensor:
    if not used.slots:
        return _nobody(e)
    return link_together(e.audio, e.text, e.present, used, searching=searching).index


def _nobody(embeddings: Embeddings) -> Tensor:
    """Return the neighbours int64 [N, 0] of a graph of self-loops."""
    return torch.empty(len(embeddings), 0, dtype=torch.int64)


def _can_be_linked(embeddings: Embeddings, graph: GraphConfig) -> bool:
    """Say whether every utterance finds its k neighbours among the others."""
    audio, text = embeddings.present.sum(dim=0).tolist()
    return len(embeddings) > 1 and graph.k_audio < max(audio, 1) and graph.k_text < max(text, 1)


def mean_pairwise_cosine(nodes: Tensor) -> float:
    """Return the mean cosine similarity over all pairs of different rows of [N, d], N >= 2.

    The unit vectors' sum has the squared length N plus twice the sum over all pairs.
    """
    unit = normalise(nodes.double())
    count = len(unit)
    return float((unit.sum(dim=0).square().sum() - count) / (count * (count - 1)))
