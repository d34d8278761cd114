"""What the parity gate refuses, and how that is said."""

from __future__ import annotations

import numpy as np

from hemogat.errors import ParityError
from hemogat.export_config import ParityConfig
from hemogat.runtime.parity_report import END_TO_END, ParityReport, ParityRow, SearchRow


class RefusedError(ParityError):
    """The gate refused an engine; ``parity``: all that was compared."""

    def __init__(self, message: str, parity: ParityReport) -> None:
        super().__init__(message)
        self.parity = parity


_FINITE = float(np.finfo(np.float32).max)
_APPROXIMATE = "ivf"  # leaves out a neighbour now and then, which no precision can forbid
_APPROXIMATE_FLIP_RATE = 0.01


def gate(report: ParityReport) -> None:
    """Refuse an export that is not the reference.

    Flips are limited with all inputs by themselves, and over all ways of asking together, so that
    neither hides behind the other.

    Raises:
        ParityError: naming the first comparison that is out of its limits.
    """
    limits = report.limits
    over = f"over {report.utterances} utterances"
    for row in report.rows:
        _check_row(row, over, limits)
        if row not in report.ways[1:]:
            where = f"{row.graph} {row.output} {over}"
            _check_flips(where, row.flips or 0, report.utterances, limits.max_flip_rate)
    where = f"{END_TO_END} over {report.decisions} decisions in {len(report.ways)} ways"
    _check_flips(where, report.flips, report.decisions, limits.max_flip_rate)
    # Comparisons are written so that NaN is refused too.
    if not abs(report.ua_change) <= limits.max_ua_change:
        raise ParityError(
            f"{END_TO_END} {over}: expected the unweighted accuracy to change by at most "
            f"{100 * limits.max_ua_change:g} points, found {100 * report.ua_change:+.2f}"
        )
    if not report.batch_diff <= limits.max_batch_diff:
        raise ParityError(
            f"{END_TO_END}: expected the same utterance alone and in batches within "
            f"{limits.max_batch_diff:g}, found {report.batch_diff:.3g} off"
        )
    if not report.batch_embedding_diff <= limits.max_batch_embedding_diff:
        raise ParityError(
            f"embeddings: expected the same utterance alone and in batches within "
            f"{limits.max_batch_embedding_diff:g} of its largest number, found "
            f"{report.batch_embedding_diff:.3g}"
        )
    for search in report.searches:
        _check_search(search, over, report.utterances, limits)


def _check_row(row: ParityRow, over: str, limits: ParityConfig) -> None:
    where = f"{row.graph} {row.output} {over}"
    if not row.max_abs_diff <= (limits.max_abs_diff or _FINITE):
        allowed = limits.max_abs_diff or _FINITE
        raise ParityError(
            f"{where}: expected within {allowed:g} of the torch reference, found "
            f"{row.max_abs_diff:.3g} off"
        )
    if not row.min_cosine >= (limits.min_cosine or -1.0):
        raise ParityError(
            f"{where}: expected a cosine of at least {limits.min_cosine or -1.0}, found "
            f"{row.min_cosine:.6f}"
        )


def _check_search(row: SearchRow, over: str, utterances: int, limits: ParityConfig) -> None:
    where = f"search {row.mode} {over}"
    if not row.recall >= limits.min_recall:
        raise ParityError(
            f"{where}: expected at least {limits.min_recall:g} of the neighbours that the fusion "
            f"graph finds, found {row.recall:.4f}"
        )
    least = _APPROXIMATE_FLIP_RATE if row.mode == _APPROXIMATE else 0.0
    _check_flips(where, row.flips, utterances, max(limits.max_flip_rate, least))


def _check_flips(where: str, flips: int, judged: int, max_flip_rate: float) -> None:
    allowed = int(max_flip_rate * judged)
    if flips > allowed:
        raise ParityError(f"{where}: expected at most {allowed} flipped decisions, found {flips}")
