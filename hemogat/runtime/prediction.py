"""What an utterance's classification gives back: one typed result for Python, JSON and the CLI."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hemogat.contract import Modality


@dataclass(frozen=True)
class Neighbour:
    """One bank utterance that the classified one was linked to.

    ``modality`` says which similarity found it; ``similarity`` is the cosine there.
    """

    row: int
    id: str
    label: str
    modality: Modality
    similarity: float


@dataclass(frozen=True)
class Prediction:
    """The emotion of one utterance.

    ``probabilities`` has every label of the bundle, in its order, and sums to 1; ``modalities``
    names the inputs that were used; ``neighbours`` has the masked slots left out, and is empty
    for a head without a graph.
    """

    label: str
    probabilities: dict[str, float]
    modalities: tuple[Modality, ...]
    neighbours: tuple[Neighbour, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers, ready for JSON."""
        return asdict(self)
