"""The first table: how fast, how big, how right, against whom, on what machine.

It is made of a report of peers, and stands in README.md and on top of the page of all reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hemogat.benchmarks.figures import END_TO_END, OVER, P50, SPEED_UP, Figure
from hemogat.benchmarks.quantities import plus_minus
from hemogat.benchmarks.report import BenchReport

PEERS = "peers"  # the kind of report that it is made of
FIRST, AUTHORS, OURS = "transformers eager", "authors' way", "hemogat "
TOKENS, PADDED = 16, 128  # of the text; what the authors pad every text to
_AUDIO, _TEXT, _FUSION = "audio_encoder", "text_encoder", "fusion"


@dataclass(frozen=True)
class Table:
    """The first column holds text, the others numbers; ``notes`` stand below."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Bounded:
    """A number and its interval, None where it has none."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        return plus_minus(self.value, self.low, self.high)


def summary_table(report: BenchReport, flips: Mapping[str, str]) -> Table:
    """Return the table of a report of peers.

    Args:
        report: on the base sizes, beside transformers eager.
        flips: by engine and precision ("onnx-int8"), labels that differ from torch's, in words.
    """
    found = _Peers(report.figures)
    machine = report.environment
    gpu = ", ".join(gpu.name for gpu in machine.gpus) or "no GPU"
    whole = found.all_whole()
    return Table(
        columns=(
            f"1 s of audio and {TOKENS} tokens, on {machine.cpu}, {machine.cores} cores, {gpu}",
            "audio encoder, ms",
            f"times as fast as {FIRST}",
            "text encoder, ms",
            f"times as fast as {FIRST}",
            "bank search and head, ms",
            "end to end, ms" if whole else "their sum, ms",
            "size, MiB",
            "peak memory, MiB",
            "other labels than torch",
        ),
        rows=tuple(found.rows(flips, whole=whole)),
        notes=tuple(_notes(report, found, whole=whole)),
    )


def _notes(report: BenchReport, found: _Peers, *, whole: bool) -> Iterator[str]:
    yield (
        f"wav2vec2-base, BERT-base and the paper's head with a bank of {found.bank_rows:,} "
        "utterances, which the peers' size and memory are without; random weights (speed does not "
        "depend on them)."
    )
    yield (
        f"Medians ± how far their 95 % intervals reach, of targets that took turns in one run"
        f"{beside(report)}; times as fast: the median of the ratios of each round. The authors' "
        "graph was timed by itself."
    )
    if not whole:
        yield (
            "The sum is of the medians, its interval as wide as theirs together, not measured as "
            "one: serving adds decoding and tokenising, and a server runs both encoders at once."
        )
    yield (
        "Other labels: of the committed demo's bundle, trained weights, against torch on its "
        "corpus; empty where that bundle has no such engine, or a peer runs the weights as they "
        "are."
    )


def beside(report: BenchReport) -> str:
    """Say so where the machine was busy with other work."""
    if not report.noisy:
        return ""
    share = report.other_cpu_share
    told = "" if share is None else f" took {100 * share:.0f} % of the machine"
    return f", while other work{told or ' went on'}"


class _Peers:
    """The figures of a report of peers, by what the table asks for."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        self._figures = figures
        encoders = (f.target for f in figures if f.axes.get("component") == _AUDIO)
        self._targets = list(dict.fromkeys(encoders))

    @property
    def bank_rows(self) -> int:
        """Return the rows of the bank that the head is timed with."""
        return next(int(f.axes["bank_rows"]) for f in self._figures if f.target == AUTHORS)

    def all_whole(self) -> bool:
        """Say whether each of ours was measured end to end."""
        ours = [target for target in self._targets if target.startswith(OURS)]
        return all(self._one(target, P50, component=END_TO_END) for target in ours)

    def rows(self, flips: Mapping[str, str], *, whole: bool) -> Iterator[tuple[str, ...]]:
        """Return the authors' way, then each target."""
        graph = self._one(AUTHORS, P50, component=_FUSION)
        audio = self._one(FIRST, P50, component=_AUDIO)
        padded = self._one(FIRST, P50, component=_TEXT, tokens=PADDED)
        yield (
            f"the {AUTHORS}: {FIRST}, text padded to {PADDED} tokens, a new graph each time",
            *(_cell(audio), "1", _cell(padded), "", _cell(graph)),
            "" if whole else _sum((audio, padded, graph)),
            *("", "", ""),
        )
        for target in self._targets:
            yield self._row(target, flips.get(target.removeprefix(OURS), ""), whole=whole)

    def _row(self, target: str, flips: str, *, whole: bool) -> tuple[str, ...]:
        cells = []
        for axes in ({"component": _AUDIO}, {"component": _TEXT, "tokens": TOKENS}):
            ratio = _cell(self._one(target, SPEED_UP, **axes))
            cells += [_cell(self._one(target, P50, **axes)), "1" if target == FIRST else ratio]
        head = self._one(target, P50, component=_FUSION)
        parts = (
            self._one(target, P50, component=_AUDIO),
            self._one(target, P50, component=_TEXT, tokens=TOKENS),
            head,
        )
        measured = self._one(target, P50, component=END_TO_END)
        return (
            target,
            *cells,
            _cell(head),
            _cell(measured) if whole else _sum(parts),
            _cell(self._one(target, "size"), whole=True),
            _cell(self._one(target, "peak_memory"), whole=True),
            flips,
        )

    def _one(self, target: str, metric: str, **axes: str | int) -> Bounded | None:
        for figure in self._figures:
            over = figure.axes.get(OVER, FIRST)  # of older reports the only one
            if (figure.target, figure.metric, over) == (target, metric, FIRST) and (
                axes.items() <= figure.axes.items()
            ):
                return Bounded(figure.value, figure.low, figure.high)
        return None


def _sum(parts: Iterable[Bounded | None]) -> str:
    """Return the sum, its interval as wide as the parts' together; nothing where one is missing."""
    found = [part for part in parts if part is not None]
    if len(found) < 3:
        return ""
    bounds = [
        (
            part.value if part.low is None else part.low,
            part.value if part.high is None else part.high,
        )
        for part in found
    ]
    value = sum(part.value for part in found)
    return str(Bounded(value, sum(low for low, _ in bounds), sum(high for _, high in bounds)))


def _cell(found: Bounded | None, *, whole: bool = False) -> str:
    if found is None:
        return ""
    return f"{found.value:,.0f}" if whole else str(found)
