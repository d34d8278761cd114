"""What a bundle says of its stored index: where it is, what it is of, and what it finds."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hemogat.config import PositiveInt, Settings
from hemogat.runtime.bundle_sums import InnerPath


class IvfFacts(Settings):
    """One modality's clusters, and what a search in the nearest of them finds.

    ``recall``: the share of the ``recall_at`` nearest rows that is found, beside an exact search,
    when ``queries`` rows of the bank, drawn at random, each ask for the others. They are not those
    that ``probes`` was chosen by, where the bank has enough of them.
    """

    rows: PositiveInt  # with the modality
    clusters: PositiveInt
    probes: PositiveInt  # clusters looked into, the nearest to the query
    recall: Annotated[float, Field(ge=0, le=1)]
    recall_at: PositiveInt
    queries: PositiveInt
    embeddings_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # of what was clustered

    def in_words(self) -> str:
        """Return how a search goes, and how much it finds."""
        return (
            f"{self.probes} of {self.clusters} clusters looked into (nprobe), recall "
            f"{self.recall:.4f} of the {self.recall_at} nearest, measured beside exact search on "
            f"{self.queries} of its {self.rows} rows"
        )


class IvfFiles(Settings):
    """The stored index of a bank, for the search mode ``ivf``."""

    tensors: InnerPath  # centroids, order of the rows and offsets, safetensors
    audio: IvfFacts | None = None  # None where the model asks for no neighbours by it
    text: IvfFacts | None = None

    def facts(self) -> dict[str, IvfFacts]:
        """Return what there is, by modality."""
        both = {"audio": self.audio, "text": self.text}
        return {modality: facts for modality, facts in both.items() if facts is not None}
