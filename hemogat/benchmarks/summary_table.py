"""The first table: how fast, how big, how right, against whom, on what machine.

It is made of a report of peers, and stands in README.md and on top of the page of all reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hemogat.benchmarks.figures import OVER, P50, SPEED_UP, Figure
from hemogat.benchmarks.quantities import plus_minus
from hemogat.benchmarks.report import BenchReport

PEERS = "peers"  # the kind of report that it is made of
FIRST, AUTHORS, OURS = "transformers eager", "authors' way", "hemogat "
TOKENS, PADDED = 16, 128  # of the text; what the authors pad every text to
_ENCODERS, _FUSION = "encoders", "fusion"


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
    return Table(
        columns=(
            f"1 s of audio and {TOKENS} tokens, on {machine.cpu_in_words}, "
            f"{machine.cores} cores, {gpu}",
            "both encoders, ms",
            f"times as fast as {FIRST}",
            "bank search and head, ms",
            "size, MiB",
            "peak memory, MiB",
            "other labels than torch",
        ),
        rows=tuple(found.rows(flips)),
        notes=tuple(_notes(report, found)),
    )


def _notes(report: BenchReport, found: _Peers) -> Iterator[str]:
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
        encoders = (f.target for f in figures if f.axes.get("component") == _ENCODERS)
        self._targets = list(dict.fromkeys(encoders))

    @property
    def bank_rows(self) -> int:
        """Return the rows of the bank that the head is timed with."""
        return next(int(f.axes["bank_rows"]) for f in self._figures if f.target == AUTHORS)

    def rows(self, flips: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
        """Return the authors' way, then each target."""
        graph = self._one(AUTHORS, P50, component=_FUSION)
        padded: dict[str, str | int] = {"component": _ENCODERS, "tokens": PADDED}
        yield (
            f"the {AUTHORS}: {FIRST}, text padded to {PADDED} tokens, a new graph each time",
            *(_cell(self._one(FIRST, P50, **padded)), "", _cell(graph)),
            *("", "", ""),
        )
        for target in self._targets:
            yield self._row(target, flips.get(target.removeprefix(OURS), ""))

    def _row(self, target: str, flips: str) -> tuple[str, ...]:
        axes: dict[str, str | int] = {"component": _ENCODERS, "tokens": TOKENS}
        ratio = _cell(self._one(target, SPEED_UP, **axes))
        return (
            target,
            _cell(self._one(target, P50, **axes)),
            "1" if target == FIRST else ratio,
            _cell(self._one(target, P50, component=_FUSION)),
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


def _cell(found: Bounded | None, *, whole: bool = False) -> str:
    if found is None:
        return ""
    return f"{found.value:,.0f}" if whole else str(found)
