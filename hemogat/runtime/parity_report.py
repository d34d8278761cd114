"""What the parity gate found of each engine in a bundle: ``parity.json``."""

from __future__ import annotations

from pydantic import Field

from hemogat.config import Settings
from hemogat.export_config import ParityConfig
from hemogat.runtime.bundle import Bundle, GraphName

PARITY_FILE = "parity.json"
END_TO_END = "end_to_end"
ENOUGH_FOR_RATES = 500  # utterances; with fewer, a rate of flips says little


class ParityRow(Settings):
    """One comparison over all utterances.

    ``flips``: decisions that differ, None where the output decides nothing.
    """

    graph: str
    output: str
    max_abs_diff: float
    min_cosine: float
    flips: int | None = None


class ComponentLatency(Settings):
    """Median time of one utterance, here and in torch on the same machine."""

    graph: GraphName
    p50_ms: float
    torch_p50_ms: float


class ParityReport(Settings):
    """All comparisons of one engine and precision, and what they were judged by.

    ``enough_for_rates``: whether the utterances are many enough to speak of a rate of flips.
    ``ua_change``: end to end, as a share. ``batch_diff``: the largest difference of a probability
    between an utterance alone and the same one in a batch. ``restored``: layers that quantisation
    put back to float because they flipped decisions. ``ungated``: why nothing was judged, None
    where the gate was passed.
    """

    utterances: int
    enough_for_rates: bool
    limits: ParityConfig
    rows: tuple[ParityRow, ...]
    ua_change: float = 0.0
    batch_diff: float = 0.0
    latency: tuple[ComponentLatency, ...] = ()
    restored: dict[GraphName, tuple[str, ...]] = Field(default_factory=dict)
    ungated: str | None = None

    @property
    def end_to_end(self) -> ParityRow:
        """The comparison of final probabilities."""
        return next(row for row in self.rows if row.graph == END_TO_END)


class ParityFile(Settings):
    """``parity.json``: a report for every engine and precision, by names such as onnx-int8."""

    reports: dict[str, ParityReport]


def read_parity(bundle: Bundle) -> ParityFile:
    """Read the bundle's ``parity.json``.

    Raises:
        BundleError: it cannot be read.
    """
    return bundle.read(ParityFile, PARITY_FILE)
