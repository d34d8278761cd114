"""``metrics.json``: what an evaluation found, over seeds and without anything per utterance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hemogat.config import PositiveInt, Settings
from hemogat.data.manifest import Split
from hemogat.training.head_names import FULL
from hemogat.training.intervals import Estimate, estimate
from hemogat.training.metrics import ECE_BINS, FIGURES, ClassMetrics, Figure, Metrics, measure
from hemogat.training.preparation import SkippedRow

SCHEMA_VERSION: Literal[1] = 1
CONTROL = "no_gnn"  # the head that tells what the graph adds

# inductive: neighbours from the bank, what is served. transductive: from the split itself, the
# paper's way. self_loop: none.
GraphKind = Literal["inductive", "transductive", "self_loop"]
Inputs = Literal["both", "audio", "text"]


@dataclass(frozen=True)
class Answers:
    """What one kind of head answers on one graph, seed by seed.

    Shapes:
        true: int64 [N]
        probabilities: float32 [seeds, N, labels]
        features: float32 [N, width], what stands for the utterances in the t-SNE picture; the
            exported seed's
        layer_cosine: [seeds, layers], empty without graph layers
    """

    head: str
    graph: GraphKind
    inputs: Inputs
    true: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
    layer_cosine: NDArray[np.float64]


@dataclass(frozen=True)
class SplitAnswers:
    """All answers of one run or bundle on one split; ``features`` names what the answers hold.

    ``skipped``: utterances that were left out, unreadable: a run's of all its splits.
    """

    name: str
    split: Split
    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    best_seed: int
    features: str
    rows: tuple[Answers, ...]
    skipped: tuple[SkippedRow, ...] = ()

    @property
    def best(self) -> int:
        """The exported seed's place among the seeds."""
        return self.seeds.index(self.best_seed)


class ClassEstimates(Settings):
    """One label over seeds."""

    support: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


class EvaluationRow(Settings):
    """One kind of head, on one graph, asked with one kind of input.

    ``inputs``: with a single modality, the utterances that have it are counted. ``per_class`` and
    ``confusion`` (true labels by predicted ones, of the exported seed) stand in the order of the
    labels. ``layer_cosine``: per graph layer, how alike the split's nodes are after it (mean
    cosine over all pairs); towards 1, deeper layers smooth away what tells utterances apart.
    """

    head: str
    graph: GraphKind
    inputs: Inputs
    utterances: int
    figures: dict[Figure, Estimate]
    per_class: tuple[ClassEstimates, ...]
    confusion: tuple[tuple[int, ...], ...]
    layer_cosine: tuple[Estimate, ...]


class Evaluation(Settings):
    """Everything measured on one split.

    ``rows``: the exported head (``full``) on every graph, and the control heads on the inductive
    one, each first with all the inputs it reads. ``graph_gain``: inductive minus ``no_gnn``,
    paired by seed; None where one of the two is missing. ``skipped``: utterances that were left
    out, unreadable, by a run in any of its splits, or by the evaluation of a bundle.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    split: Split
    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    best_seed: int
    ece_bins: PositiveInt = ECE_BINS
    rows: tuple[EvaluationRow, ...]
    graph_gain: dict[Figure, Estimate] | None
    skipped: tuple[SkippedRow, ...] = ()

    @property
    def graphs(self) -> dict[str, EvaluationRow]:
        """The exported head by graph, with all the inputs it reads."""
        return _first_of_each((row.graph, row) for row in self.rows if row.head == FULL)

    @property
    def controls(self) -> dict[str, EvaluationRow]:
        """The control heads by name, each with all the inputs it reads."""
        return _first_of_each((row.head, row) for row in self.rows if row.head != FULL)

    @property
    def served(self) -> EvaluationRow:
        """The row of what a bundle serves; the transductive one where there is no bank."""
        return self.rows[0]

    def accuracies(self) -> dict[str, float]:
        """Return the mean accuracy of every graph and control."""
        return {
            name: row.figures["accuracy"].mean
            for name, row in (*self.graphs.items(), *self.controls.items())
        }


def summarise_answers(answers: SplitAnswers) -> Evaluation:
    """Measure every row of ``answers`` over its seeds."""
    metrics = [_metrics_by_seed(row) for row in answers.rows]
    best = answers.best
    return Evaluation(
        name=answers.name,
        split=answers.split,
        labels=answers.labels,
        seeds=answers.seeds,
        best_seed=answers.best_seed,
        rows=tuple(
            _row(row, found, best) for row, found in zip(answers.rows, metrics, strict=True)
        ),
        graph_gain=_graph_gain(answers.rows, metrics, best),
        skipped=answers.skipped,
    )


def _first_of_each(named: Iterable[tuple[str, EvaluationRow]]) -> dict[str, EvaluationRow]:
    found: dict[str, EvaluationRow] = {}
    for name, row in named:
        found.setdefault(name, row)
    return found


def _metrics_by_seed(row: Answers) -> list[Metrics]:
    return [measure(row.true, probabilities) for probabilities in row.probabilities]


def _row(row: Answers, metrics: Sequence[Metrics], best: int) -> EvaluationRow:
    return EvaluationRow(
        head=row.head,
        graph=row.graph,
        inputs=row.inputs,
        utterances=len(row.true),
        figures={name: estimate([m.figure(name) for m in metrics], best) for name in FIGURES},
        per_class=tuple(
            _class_estimates(by_seed, best)
            for by_seed in zip(*(m.per_class for m in metrics), strict=True)
        ),
        confusion=metrics[best].confusion,
        layer_cosine=tuple(estimate(layer, best) for layer in row.layer_cosine.T.tolist()),
    )


def _class_estimates(by_seed: Sequence[ClassMetrics], best: int) -> ClassEstimates:
    return ClassEstimates(
        support=by_seed[0].support,
        precision=estimate([c.precision for c in by_seed], best),
        recall=estimate([c.recall for c in by_seed], best),
        f1=estimate([c.f1 for c in by_seed], best),
    )


def _graph_gain(
    rows: Sequence[Answers], metrics: Sequence[Sequence[Metrics]], best: int
) -> dict[Figure, Estimate] | None:
    """Pair the served head with the control of the same seed, on the same utterances."""
    found = {(row.head, row.graph, row.inputs): m for row, m in zip(rows, metrics, strict=True)}
    inputs = rows[0].inputs
    with_graph, without = (found.get((head, "inductive", inputs)) for head in (FULL, CONTROL))
    if with_graph is None or without is None:
        return None
    return {
        name: estimate(
            [a.figure(name) - b.figure(name) for a, b in zip(with_graph, without, strict=True)],
            best,
        )
        for name in FIGURES
    }
