"""What the parity gate found of each engine in a bundle: ``parity.json``."""

from __future__ import annotations

import logging

from pydantic import Field

from hemogat.config import Settings
from hemogat.contract import Engine, Precision, SearchMode
from hemogat.export_config import ParityConfig
from hemogat.runtime.bundle import Bundle, GraphName

PARITY_FILE = "parity.json"
END_TO_END = "end_to_end"
ENOUGH_FOR_RATES = 500  # utterances; with fewer, a rate of flips says little

_LOG = logging.getLogger(__name__)


class ParityRow(Settings):
    """One comparison over all utterances, or all that have both modalities where one is hidden.

    ``flips``: decisions that differ, of ``decisions``; None where the output decides nothing.
    """

    graph: str
    output: str
    max_abs_diff: float
    min_cosine: float
    flips: int | None = None
    decisions: int | None = None


class SearchRow(Settings):
    """A bank searched outside the graph, beside the fusion graph of the same engine.

    ``flips``: decisions that differ, of as many as there are utterances. ``max_abs_diff``: of a
    probability. ``recall``: the share of the graph's neighbours that were found, or rows equally
    similar.
    """

    mode: SearchMode
    flips: int
    max_abs_diff: float
    recall: float


class ComponentLatency(Settings):
    """Median time of one utterance, here and in torch on the same machine, taking turns.

    Intervals: 95 % of the medians; None in reports of before they were stored.
    """

    graph: GraphName
    p50_ms: float
    torch_p50_ms: float
    interval_ms: tuple[float, float] | None = None
    torch_interval_ms: tuple[float, float] | None = None
    rounds: int | None = None


class ParityReport(Settings):
    """All comparisons of one engine and precision, and what they were judged by.

    ``enough_for_rates``: whether the utterances are many enough to speak of a rate of flips.
    ``source``: where the utterances come from. ``ua_change``, ``accuracy_change``: end to end with
    all inputs, as a share. ``batch_diff``: the largest difference of a probability between an
    utterance in one batch, in another, and alone; ``batch_embedding_diff``: the same of an
    embedding, as a share of its largest number. ``load``: of the machine, per core, while
    ``latency`` was taken. ``restored``: layers that quantisation put back to float because they
    flipped decisions. ``stand_in``: what was compared in place of the engine, None where it was the
    engine itself. ``ungated``: why nothing was judged, None where the gate was passed.
    """

    utterances: int
    enough_for_rates: bool
    limits: ParityConfig
    rows: tuple[ParityRow, ...]
    source: str | None = None
    ua_change: float = 0.0
    accuracy_change: float = 0.0
    batch_diff: float = 0.0
    batch_embedding_diff: float = 0.0
    searches: tuple[SearchRow, ...] = ()
    latency: tuple[ComponentLatency, ...] = ()
    load: float | None = None
    restored: dict[GraphName, tuple[str, ...]] = Field(default_factory=dict)
    stand_in: str | None = None
    ungated: str | None = None

    @property
    def end_to_end(self) -> ParityRow:
        """The comparison of final probabilities, all inputs there."""
        return next(row for row in self.rows if row.graph == END_TO_END)

    @property
    def ways(self) -> tuple[ParityRow, ...]:
        """End to end in every way that the model can be asked: all inputs, or one hidden."""
        return tuple(row for row in self.rows if row.graph.startswith(END_TO_END))

    @property
    def decisions(self) -> int:
        """How many decisions were judged end to end: utterances times ways."""
        return sum(self.utterances if r.decisions is None else r.decisions for r in self.ways)

    @property
    def flips(self) -> int:
        """How many of them differ."""
        return sum(row.flips or 0 for row in self.ways)

    def flips_in_words(self) -> str:
        """Return how many decisions differ of how many, and where there are several ways, in each.

        >>> report.flips_in_words()
        '0 of 1200 decisions flipped (all inputs 0, without audio 0, without text 0)'
        """
        total = f"{self.flips} of {self.decisions} decisions flipped"
        if len(self.ways) < 2:
            return total
        names = (row.graph.removeprefix(END_TO_END).strip() or "all inputs" for row in self.ways)
        each = (f"{name} {row.flips}" for name, row in zip(names, self.ways, strict=True))
        return f"{total} ({', '.join(each)})"


class ParityFile(Settings):
    """``parity.json``: a report for every engine and precision, by names such as onnx-int8."""

    reports: dict[str, ParityReport]


def never_compared(bundle: Bundle, engine: Engine, precision: Precision) -> str | None:
    """Say why nobody knows how an engine of the bundle answers; None where it was compared."""
    target = f"{engine}-{precision}"
    report = read_parity(bundle).reports.get(target)
    verify = f"hemogat inspect {bundle.path} --verify compares a few answers"
    if report is None:
        return f"{target} was built after the export and never compared; {verify}"
    if not report.rows:
        return f"{target} was never compared: {report.ungated}"
    if report.stand_in is not None:
        return f"{target} itself was never compared, only {report.stand_in}; {verify}"
    return None


def warn_if_never_compared(bundle: Bundle, engine: Engine, precision: Precision) -> None:
    """Log why nobody knows how an engine that is about to be used answers, if nobody does."""
    reason = never_compared(bundle, engine, precision)
    if reason is not None:
        _LOG.warning(reason)


def read_parity(bundle: Bundle) -> ParityFile:
    """Read the bundle's ``parity.json``.

    Raises:
        BundleError: it cannot be read.
    """
    return bundle.read(ParityFile, PARITY_FILE)


def labels_flipped(bundle: Bundle) -> dict[str, str]:
    """Return how many labels differ from torch's, by engine and precision, of those that are known.

    >>> labels_flipped(bundle)
    {'onnx-fp32': '0 of 400', 'onnx-int8': '1 of 400'}

    Raises:
        BundleError: the report is missing or cannot be read.
    """
    reports = read_parity(bundle).reports
    judged = {name: report for name, report in reports.items() if report.ungated is None}
    return {
        name: f"{report.end_to_end.flips} of {report.utterances}"
        for name, report in judged.items()
        if report.rows
    }
