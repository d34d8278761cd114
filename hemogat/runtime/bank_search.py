"""The search for bank rows outside the graph: one interface, exact and approximate.

A search scans codes of all rows (or of the most promising) for candidates, and scores those in
fp32. The scan's largest possible error is known, so that an exact search can tell when a row
outside the candidates might still belong to the answer, and then looks at more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hemogat.config import GraphConfig
from hemogat.contract import MODALITIES, SearchMode
from hemogat.errors import ConfigError
from hemogat.runtime.bank_tensors import Tensors

if TYPE_CHECKING:
    from hemogat.runtime.stored_index import StoredIndex

# Where the bank's size decides. A smaller one is read as fast inside the graph, and waking a thread
# takes longer than a scan of its rows.
INSIDE_BELOW_ROWS = 20_000
APPROXIMATE_FROM_ROWS = 100_000
_MORE = 8  # times as many, where those did not settle it
_AT_ONCE = 16_384  # rows that are in memory at once
_ROUNDING = 1e-5  # of a fp32 dot product of unit vectors, summed in any order

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """What a scan found, best first: columns [C] and their scores [C].

    ``error``: how far a score may be from the cosine; None where rows were left out unscored.
    """

    columns: Ints
    scores: Floats
    error: float | None


class Scan(ABC):
    """A fast search that may be off; ``first``: candidates that are worth asking for at first."""

    first: int

    @abstractmethod
    def candidates(self, query: Floats, count: int) -> Candidates:
        """Return up to ``count`` rows; ``query`` float32 [d] has length 1."""


class ExactScan(Scan):
    """fp32 against all rows, in numpy: no package needed, and most bytes read."""

    first = 64

    def __init__(self, table: Floats) -> None:
        self._table = table  # [d, R]

    def candidates(self, query: Floats, count: int) -> Candidates:
        """Score all rows."""
        scores: Floats = query @ self._table
        if count < len(scores):
            best = np.argpartition(scores, -count)[-count:]
        else:
            best = np.arange(len(scores))
        best = best[np.argsort(-scores[best])]
        return Candidates(best, scores[best], _ROUNDING)


class ModalitySearch:
    """The k nearest of one modality's rows by cosine; ties go to the lower row.

    Args:
        embeddings: float32 [M, d], all bank rows
        rows: int64 [R], ascending, those that have the modality
        scan: finds candidates among these R
        k: how many
    """

    def __init__(self, embeddings: Floats, rows: Ints, scan: Scan, k: int) -> None:
        self._embeddings, self._rows, self._scan, self._k = embeddings, rows, scan, k
        self._lengths = _lengths(embeddings, rows)

    def __call__(self, query: Floats) -> tuple[Ints, Floats]:
        """Return rows [k] and cosines [k], best first."""
        unit = normalise(query[None])[0]
        count = max(self._scan.first, 2 * self._k)
        while True:
            count = min(count, len(self._rows))
            found = self._scan.candidates(unit, count)
            rows = self._rows[found.columns]
            cosines = self._score(unit, found.columns)
            order = np.lexsort((rows, -cosines))[: self._k]
            if count == len(self._rows) or self._settled(found, cosines[order]):
                return rows[order], cosines[order]
            count *= _MORE

    def _settled(self, found: Candidates, best: Floats) -> bool:
        """Say whether no row that was not looked at can be among the best, or tie with them."""
        if found.error is None:
            return True
        return bool(found.scores[-1] + found.error + _ROUNDING < best[-1])

    def _score(self, unit: Floats, columns: Ints) -> Floats:
        near = self._embeddings[self._rows[columns]]
        # Row by row the same sums in the same order, so that equal rows tie exactly.
        cosines: Floats = np.einsum("nd,d->n", near, unit) / self._lengths[columns]
        return cosines


def _lengths(embeddings: Floats, rows: Ints) -> Floats:
    """Return the rows' lengths [R], block by block; of a zero row what it may be divided by."""
    blocks = (embeddings[rows[n : n + _AT_ONCE]] for n in range(0, len(rows), _AT_ONCE))
    squares = np.concatenate([np.einsum("nd,nd->n", block, block) for block in blocks])
    lengths: Floats = np.maximum(np.sqrt(squares), np.float32(1e-12))
    return lengths


def normalise(embeddings: Floats) -> Floats:
    """Scale rows to unit length; a zero row stays zero."""
    norms = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))[:, None]
    scaled: Floats = embeddings / np.maximum(norms, np.float32(1e-12))
    return scaled


@dataclass(frozen=True)
class Neighbours:
    """As the graph step gives them: both [B, k_audio + k_text], masked slots -1 and 0."""

    index: Ints
    similarity: Floats


class BankSearch:
    """The graph step for a bank outside the graph.

    Args:
        tensors: the bank's file, as :func:`hemogat.runtime.bank_tensors.map_tensors` reads it
        graph: the neighbours that the head reads
        mode: ``exact``: fp32 against all rows; ``int8``: the same answer from 8-bit codes, faster;
            ``ivf``: approximate, for large banks
        index: the index of ``ivf``, by modality, as it was stored; what is not given is built

    Raises:
        ConfigError: the bank has fewer rows than neighbours are asked for.
        IncompleteError: int8 or ivf without the extra ``search``.
    """

    def __init__(
        self,
        tensors: Tensors,
        graph: GraphConfig,
        *,
        mode: SearchMode,
        index: Mapping[str, StoredIndex] | None = None,
    ) -> None:
        self._searches: list[ModalitySearch | None] = []
        self.scans: dict[str, Scan] = {}
        self._k = (graph.k_audio, graph.k_text)
        for modality, k in zip(MODALITIES, self._k, strict=True):
            rows = np.asarray(tensors[f"{modality}_rows"])
            if k > len(rows):
                raise ConfigError(
                    f"graph.k_{modality} is {k}, but the bank has {len(rows)} rows with {modality}"
                )
            if not k:
                self._searches.append(None)
                continue
            scan = _scan(tensors, modality, rows, mode, (index or {}).get(modality))
            self.scans[modality] = scan
            self._searches.append(ModalitySearch(tensors[modality], rows, scan, k))
        self._large = max(len(tensors[f"{m}_rows"]) for m in MODALITIES) >= INSIDE_BELOW_ROWS
        self._pool = ThreadPoolExecutor(len(MODALITIES), thread_name_prefix="bank-search")

    def __call__(self, audio: Floats, text: Floats, present: NDArray[np.bool_]) -> Neighbours:
        """Link utterances to bank rows: [B, d_a], [B, d_t], bool [B, 2]."""
        together = self._pool.map if self._large else map
        queries = ((audio, present[:, 0]), (text, present[:, 1]))
        found = list(together(self._search, self._searches, self._k, queries))
        return union(*found[0], *found[1], present)

    @staticmethod
    def _search(
        search: ModalitySearch | None, k: int, queries: tuple[Floats, NDArray[np.bool_]]
    ) -> tuple[Ints, Floats]:
        embeddings, present = queries
        rows = np.full((len(embeddings), k), -1, np.int64)
        cosines = np.zeros((len(embeddings), k), np.float32)
        if search is not None:
            # An absent embedding is zero, as near to one row as to any: nothing would settle it.
            for number in np.flatnonzero(present):
                rows[number], cosines[number] = search(embeddings[number])
        return rows, cosines


def _scan(
    tensors: Tensors, modality: str, rows: Ints, mode: SearchMode, stored: StoredIndex | None
) -> Scan:
    if mode == "exact":
        return ExactScan(tensors[f"{modality}_table"])
    from hemogat.runtime.bank_codes import CodeScan, IVFScan

    if mode == "ivf":
        return IVFScan(tensors[modality], rows, *(stored or ()))
    return CodeScan(tensors[modality], rows)


def union(
    audio_rows: Ints,
    audio_cosines: Floats,
    text_rows: Ints,
    text_cosines: Floats,
    present: NDArray[np.bool_],
) -> Neighbours:
    """Join both modalities' neighbours; a row in both keeps its audio slot (Eq. 7).

    Rows [B, k] and cosines [B, k] of each, -1 where there are fewer.
    """
    audio_kept = np.broadcast_to(present[:, :1], audio_rows.shape)
    twice = (text_rows[:, :, None] == audio_rows[:, None, :]).any(axis=2) & present[:, :1]
    rows = np.concatenate([audio_rows, text_rows], axis=1)
    kept = np.concatenate([audio_kept, present[:, 1:] & ~twice], axis=1) & (rows >= 0)
    cosines = np.concatenate([audio_cosines, text_cosines], axis=1)
    return Neighbours(np.where(kept, rows, -1), np.where(kept, cosines, np.float32(0)))


def gather_states(tensors: Tensors, layers: Sequence[int], index: Ints) -> dict[str, NDArray[Any]]:
    """Return what a graph without a bank takes of its neighbours; a masked slot reads row 0."""
    slots = np.maximum(index, 0)
    states = {
        f"neighbour_states_{n}": tensors[f"states_{n}"][slots].astype(np.float32, copy=False)
        for n in layers
    }
    return {"neighbours": index, **states}
