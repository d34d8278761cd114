"""Classification metrics, by the field's definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

from hemogat.config import Settings

Figure = Literal[
    "accuracy",
    "unweighted_accuracy",
    "weighted_f1",
    "macro_f1",
    "weighted_precision",
    "macro_precision",
    "weighted_recall",
    "macro_recall",
    "ece",
]
FIGURES: tuple[Figure, ...] = get_args(Figure)
ECE_BINS = 15  # as Guo et al. 2017, "On calibration of modern neural networks"


class ClassMetrics(Settings):
    """How well one label was recognised; ``support``: the utterances that have it."""

    precision: float
    recall: float
    f1: float
    support: int


class Metrics(Settings):
    """How well labels were recognised.

    ``accuracy`` is weighted accuracy (WA, equal to ``weighted_recall``), ``unweighted_accuracy``
    (UA, equal to ``macro_recall``) the mean recall; the authors' code has the two names swapped.
    Macro figures are means over the labels that occur. A label that is never predicted has
    precision 0. ``ece`` is :func:`expected_calibration_error`. ``per_class`` and ``confusion``
    stand in the order of the labels; rows of ``confusion`` are the true ones.
    """

    utterances: int
    accuracy: float
    unweighted_accuracy: float
    weighted_f1: float
    macro_f1: float
    weighted_precision: float
    macro_precision: float
    weighted_recall: float
    macro_recall: float
    ece: float
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]

    def figure(self, name: Figure) -> float:
        """Return the figure called ``name``."""
        value: float = getattr(self, name)
        return value


@dataclass(frozen=True)
class Reliability:
    """Utterances by the probability of their predicted label, in bins of equal width.

    Shapes:
        edges: [bins + 1], from 0 to 1; a bin holds its upper edge, not its lower one
        count: int64 [bins]
        confidence, accuracy: [bins], means over each bin's utterances, NaN where it has none
    """

    edges: NDArray[np.float64]
    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def measure(true: Sequence[int] | NDArray[np.int64], probabilities: NDArray[np.float32]) -> Metrics:
    """Compare label numbers [N] with probabilities [N, labels]; the largest is the prediction."""
    true = np.asarray(true)
    predicted = probabilities.argmax(axis=1)
    classes = np.arange(probabilities.shape[1])
    by_class = precision_recall_fscore_support(true, predicted, labels=classes, zero_division=0)
    occurring = np.unique(true)
    macro = precision_recall_fscore_support(
        true, predicted, labels=occurring, average="macro", zero_division=0
    )
    weighted = precision_recall_fscore_support(
        true, predicted, labels=occurring, average="weighted", zero_division=0
    )
    return Metrics(
        utterances=len(true),
        accuracy=float(accuracy_score(true, predicted)),
        unweighted_accuracy=float(macro[1]),
        weighted_f1=float(weighted[2]),
        macro_f1=float(macro[2]),
        weighted_precision=float(weighted[0]),
        macro_precision=float(macro[0]),
        weighted_recall=float(weighted[1]),
        macro_recall=float(macro[1]),
        ece=expected_calibration_error(true, probabilities),
        per_class=tuple(
            ClassMetrics(precision=float(p), recall=float(r), f1=float(f), support=int(n))
            for p, r, f, n in zip(*by_class, strict=True)
        ),
        confusion=tuple(
            tuple(int(n) for n in row) for row in confusion_matrix(true, predicted, labels=classes)
        ),
    )


def weighted_f1(true: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Return the mean F1 over the labels, weighted by how often each occurs; [N] numbers each."""
    return float(f1_score(true, predicted, average="weighted", zero_division=0))


def reliability(
    true: NDArray[np.int64], probabilities: NDArray[np.float32], bins: int = ECE_BINS
) -> Reliability:
    """Sort the predictions of ``probabilities`` [N, labels] into bins by their confidence."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == true).astype(np.float64)
    bin_of = np.digitize(confidence, edges[1:-1], right=True)
    count = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 where a bin is empty
        mean_confidence = np.bincount(bin_of, confidence, minlength=bins) / count
        accuracy = np.bincount(bin_of, right, minlength=bins) / count
    return Reliability(edges, count, mean_confidence, accuracy)


def expected_calibration_error(
    true: Sequence[int] | NDArray[np.int64], probabilities: NDArray[np.float32]
) -> float:
    """Return the mean gap between confidence and accuracy over bins, weighted by their size.

    Of the predicted label's probability, in ``ECE_BINS`` bins of equal width (Guo et al. 2017).
    """
    found = reliability(np.asarray(true), probabilities)
    gap = np.nan_to_num(np.abs(found.accuracy - found.confidence))
    return float((found.count * gap).sum() / found.count.sum())
