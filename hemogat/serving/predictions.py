"""What a client gets back: the entry model's tensors as typed results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat import contract
from hemogat.contract import Modality
from hemogat.errors import ServerError


@dataclass(frozen=True)
class ServedNeighbour:
    """One bank row that the utterance was linked to, and the cosine that linked it."""

    row: int
    similarity: float


@dataclass(frozen=True)
class ServedPrediction:
    """The emotion of one utterance, as the server answered.

    ``probabilities`` has every label, in the model's order; ``modalities`` names the inputs that
    were used; ``neighbours`` is empty unless the repository was generated to explain.
    """

    label: str
    probabilities: dict[str, float]
    modalities: tuple[Modality, ...]
    neighbours: tuple[ServedNeighbour, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class StreamPrediction:
    """The emotion of a stream so far, from the ``windows`` of 1 s that were complete."""

    label: str
    probabilities: dict[str, float]
    modalities: tuple[Modality, ...]
    windows: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers, ready for JSON."""
        return asdict(self)


def read_predictions(result: Any, labels: Sequence[str]) -> list[ServedPrediction]:
    """Read the rows of a tritonclient ``InferResult``; ``labels`` as in ``PROBABILITIES``.

    Raises:
        ServerError: the answer is not of a model with these labels.
    """
    column = result.as_numpy(contract.LABEL_OUTPUT.name)[:, 0]
    answered = [label.decode() for label in column]
    probabilities = result.as_numpy(contract.PROBABILITIES_OUTPUT.name)
    modalities = result.as_numpy(contract.MODALITIES_OUTPUT.name)[:, 0]
    neighbours = result.as_numpy(contract.NEIGHBOURS_OUTPUT.name)
    similarities = result.as_numpy(contract.SIMILARITIES_OUTPUT.name)
    return [
        ServedPrediction(
            label=label,
            probabilities=_by_label(labels, probabilities[row], label),
            modalities=tuple(modalities[row].decode().split(",")),
            neighbours=()
            if neighbours is None
            else _neighbours(neighbours[row], similarities[row]),
        )
        for row, label in enumerate(answered)
    ]


def read_stream_prediction(result: Any, labels: Sequence[str]) -> StreamPrediction | None:
    """Read the answer to one piece of a stream; None while there is nothing to classify.

    Raises:
        ServerError: the answer is not of a model with these labels.
    """
    label = result.as_numpy(contract.LABEL_OUTPUT.name)[0, 0].decode()
    modalities = result.as_numpy(contract.MODALITIES_OUTPUT.name)[0, 0].decode()
    if not label:
        return None
    probabilities = result.as_numpy(contract.PROBABILITIES_OUTPUT.name)[0]
    return StreamPrediction(
        label=label,
        probabilities=_by_label(labels, probabilities, label),
        modalities=tuple(modalities.split(",")),
        windows=int(result.as_numpy(contract.WINDOWS_OUTPUT.name)[0, 0]),
    )


def _by_label(
    labels: Sequence[str], probabilities: NDArray[np.float32], label: str
) -> dict[str, float]:
    """Pair probabilities with labels, which must give the one that was answered."""
    # The server may have got another bundle since it was asked for its labels.
    if len(probabilities) != len(labels) or labels[int(probabilities.argmax())] != label:
        raise ServerError(
            f"answer: expected {len(labels)} probabilities, of {', '.join(labels)}, which the "
            f"server told as its labels; found {len(probabilities)}, {label} the most likely: it "
            "serves another bundle now; ask again"
        )
    return dict(zip(labels, probabilities.tolist(), strict=True))


def _neighbours(
    rows: NDArray[np.int64], similarities: NDArray[np.float32]
) -> tuple[ServedNeighbour, ...]:
    return tuple(
        ServedNeighbour(int(row), float(similarity))
        for row, similarity in zip(rows, similarities, strict=True)
        if row >= 0
    )
