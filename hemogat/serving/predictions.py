"""What a client gets back: the entry model's tensors as typed results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat import contract
from hemogat.contract import Modality


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
    """Read the rows of a tritonclient ``InferResult``; ``labels`` as in ``PROBABILITIES``."""
    answered = result.as_numpy(contract.LABEL_OUTPUT.name)[:, 0]
    probabilities = result.as_numpy(contract.PROBABILITIES_OUTPUT.name)
    modalities = result.as_numpy(contract.MODALITIES_OUTPUT.name)[:, 0]
    neighbours = result.as_numpy(contract.NEIGHBOURS_OUTPUT.name)
    similarities = result.as_numpy(contract.SIMILARITIES_OUTPUT.name)
    return [
        ServedPrediction(
            label=answered[row].decode(),
            probabilities=dict(zip(labels, probabilities[row].tolist(), strict=True)),
            modalities=tuple(modalities[row].decode().split(",")),
            neighbours=()
            if neighbours is None
            else _neighbours(neighbours[row], similarities[row]),
        )
        for row in range(len(answered))
    ]


def read_stream_prediction(result: Any, labels: Sequence[str]) -> StreamPrediction | None:
    """Read the answer to one piece of a stream; None while there is nothing to classify."""
    label = result.as_numpy(contract.LABEL_OUTPUT.name)[0, 0].decode()
    modalities = result.as_numpy(contract.MODALITIES_OUTPUT.name)[0, 0].decode()
    if not label:
        return None
    probabilities = result.as_numpy(contract.PROBABILITIES_OUTPUT.name)[0].tolist()
    return StreamPrediction(
        label=label,
        probabilities=dict(zip(labels, probabilities, strict=True)),
        modalities=tuple(modalities.split(",")),
        windows=int(result.as_numpy(contract.WINDOWS_OUTPUT.name)[0, 0]),
    )


def _neighbours(
    rows: NDArray[np.int64], similarities: NDArray[np.float32]
) -> tuple[ServedNeighbour, ...]:
    return tuple(
        ServedNeighbour(int(row), float(similarity))
        for row, similarity in zip(rows, similarities, strict=True)
        if row >= 0
    )
