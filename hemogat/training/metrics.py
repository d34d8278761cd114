"""Classification metrics, by the field's definitions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from hemogat.config import Settings
from hemogat.data.manifest import Split


class Metrics(Settings):
    """How well labels were recognised.

    ``accuracy`` is weighted accuracy (WA), ``unweighted_accuracy`` (UA) the mean recall over the
    classes that occur; the authors' code has the two names swapped. ``confusion``: rows are the
    true labels, columns the predicted ones.
    """

    utterances: int
    accuracy: float
    unweighted_accuracy: float
    weighted_f1: float
    macro_f1: float
    confusion: tuple[tuple[int, ...], ...]


class Evaluation(Settings):
    """Metrics of one split.

    ``graphs``: the exported head with neighbours from the bank (``inductive``, what is served),
    from the split itself (``transductive``, the paper's way) and without any (``self_loop``).
    ``controls``: the other heads of the run, inductive. ``layer_cosine``: per graph layer, how
    alike the split's nodes are after it (mean cosine over all pairs, transductive graph); towards
    1, deeper layers smooth away what tells utterances apart. ``transductive`` and ``layer_cosine``
    are left out for a bundle, and for a split of no more utterances than a graph's neighbours.
    """

    split: Split
    labels: tuple[str, ...]
    graphs: dict[str, Metrics]
    controls: dict[str, Metrics]
    layer_cosine: tuple[float, ...] = ()

    def accuracies(self) -> dict[str, float]:
        """Return the accuracy of every row."""
        return {name: m.accuracy for name, m in (*self.graphs.items(), *self.controls.items())}


def measure(
    true: Sequence[int] | NDArray[np.int64], predicted: NDArray[np.int64], labels: int
) -> Metrics:
    """Compare label numbers, [N] each; ``labels`` is how many there are."""
    true = np.asarray(true)
    classes = np.arange(labels)
    return Metrics(
        utterances=len(true),
        accuracy=float((true == predicted).mean()),
        unweighted_accuracy=float(
            recall_score(true, predicted, labels=np.unique(true), average="macro", zero_division=0)
        ),
        weighted_f1=float(f1_score(true, predicted, average="weighted", zero_division=0)),
        macro_f1=float(
            f1_score(true, predicted, labels=np.unique(true), average="macro", zero_division=0)
        ),
        confusion=tuple(
            tuple(int(n) for n in row) for row in confusion_matrix(true, predicted, labels=classes)
        ),
    )
