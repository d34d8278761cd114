"""8-bit codes of bank rows, in faiss: all of them, or the clusters nearest to the query."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from hemogat.optional import require
from hemogat.runtime.bank_clusters import LEVELS, ClusterLists, blocks, cluster, step_of
from hemogat.runtime.bank_search import Candidates, Floats, Ints, Scan, normalise
from hemogat.runtime.ivf_facts import IvfFacts

# Candidates of an exact search: in a larger bank more rows are near. Too few cost a second scan.
_FIRST = (32, 256)
_ROWS_PER_CANDIDATE = 128
_RECALL = 0.995  # of the ten nearest, by which the number of clusters to look into is chosen
_RECALL_QUERIES = 128  # in each of two draws: one to choose by, one to tell the recall of
_RECALL_AT = 10


class CodeScan(Scan):
    """Every row's 8-bit code: a quarter of the bytes, and an error that is known.

    Rows and queries are rounded to 8-bit codes, rows in steps of one size. By Cauchy and Schwarz no
    score is further off than the longest difference between a row and its code and that between
    the query and its own, together.

    Raises:
        IncompleteError: faiss is not installed.
    """

    def __init__(self, embeddings: Floats, rows: Ints) -> None:
        faiss = require("faiss", extra="search")
        fewest, most = _FIRST
        self.first = min(max(fewest, len(rows) // _ROWS_PER_CANDIDATE), most)
        parts = (np.abs(normalise(block)).max() for _, block in blocks(embeddings, rows))
        self._step = step_of(np.array([*parts], np.float32))
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        metric = faiss.METRIC_INNER_PRODUCT
        self._index = faiss.IndexScalarQuantizer(embeddings.shape[1], kind, metric)
        self._off = 0.0
        for _, block in blocks(embeddings, rows):
            units = normalise(block)
            codes = np.rint(units / self._step)
            self._index.add(codes)
            off = np.linalg.norm(units - codes * self._step, axis=1).max()
            self._off = max(self._off, float(off))

    def candidates(self, query: Floats, count: int) -> Candidates:
        """Score all codes."""
        step = step_of(query)
        code = np.rint(query / step)
        scores, columns = self._index.search(code[None], count)
        off = float(np.linalg.norm(query - code * step)) * (1 + self._off) + self._off
        return Candidates(columns[0], scores[0] * (step * self._step), off)


class IVFScan(Scan):
    """The codes of the clusters nearest to the query: approximate, for large banks.

    As many clusters are looked into as it takes to find 99.5 % of the ten nearest, measured on rows
    of the bank, each asking for the others; ``facts`` say how many, and what other rows find then.

    Args:
        embeddings: float32 [M, d], all bank rows
        rows: int64 [R], ascending, those that have the modality
        lists: these R in clusters; None: they are clustered now, which takes long
        facts: what is known of ``lists``; None: it is measured now

    Raises:
        IncompleteError: faiss is not installed.
    """

    first = 128

    def __init__(
        self,
        embeddings: Floats,
        rows: Ints,
        lists: ClusterLists | None = None,
        facts: IvfFacts | None = None,
    ) -> None:
        faiss = require("faiss", extra="search")
        self.lists = cluster(embeddings, rows) if lists is None else lists
        clusters, dim = self.lists.centroids.shape
        self._centres = faiss.IndexFlatIP(dim)
        self._centres.add(self.lists.centroids)
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        metric = faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexIVFScalarQuantizer(self._centres, dim, clusters, kind, metric, False)
        index.is_trained = True
        self._index: Any = index
        self.largest_code = 0.0  # before it is cut off; of a step that fits, the largest there is
        self.embeddings_sha256 = self._add(embeddings, rows)
        self.facts = self._measured(embeddings, rows) if facts is None else facts

    def _add(self, embeddings: Floats, rows: Ints) -> str:
        """Add the rows' codes to their lists; return the SHA-256 of what was added."""
        faiss = require("faiss", extra="search")
        of_column = self.lists.cluster_of()
        digest = hashlib.sha256()
        for start, block in blocks(embeddings, rows):
            digest.update(np.ascontiguousarray(block).data)
            codes = np.rint(normalise(block) / self.lists.step)
            largest = max(float(codes.max()), -float(codes.min()))
            self.largest_code = max(self.largest_code, largest)
            if largest > LEVELS:  # of a stored step that does not fit
                np.clip(codes, -LEVELS, LEVELS, out=codes)
            ids = np.arange(start, start + len(block), dtype=np.int64)
            there = of_column[start : start + len(block)]
            pointers = (faiss.swig_ptr(array) for array in (codes, ids, there))
            self._index.add_core(len(block), *pointers)
        return digest.hexdigest()

    def candidates(self, query: Floats, count: int) -> Candidates:
        """Score the codes of the nearest clusters."""
        columns, scores = self._found(query, count, self.facts.probes)
        return Candidates(columns, scores, None)

    def _found(self, query: Floats, count: int, probes: int) -> tuple[Ints, Floats]:
        """Return columns and scores of as many clusters, or of all where those hold too few."""
        columns, scores = self._searched(query, count, probes)
        if columns[-1] < 0:
            columns, scores = self._searched(query, count, len(self.lists.centroids))
        there = columns >= 0
        return columns[there], scores[there]

    def _searched(self, query: Floats, count: int, probes: int) -> tuple[Ints, Floats]:
        """Return columns and scores [count], -1 where the clusters hold fewer rows."""
        near, clusters = self._centres.search(query[None], probes)
        codes = np.rint(query / step_of(query))[None]
        self._index.nprobe = probes
        scores, columns = self._index.search_preassigned(codes, count, clusters, near)
        return columns[0], scores[0]

    def _measured(self, embeddings: Floats, rows: Ints) -> IvfFacts:
        """Look into as few clusters as give the recall; state what other rows find then."""
        draws = [recall_queries(len(rows), draw) for draw in (0, 1)]
        asking = np.concatenate(draws)
        units = normalise(embeddings[rows[asking]])
        expected = _nearest_others(embeddings, rows, asking)
        choosing, stating = np.split(np.arange(len(asking)), [len(draws[0])])
        recall, probes, clusters = 0.0, 0, len(self.lists.centroids)
        while recall < _RECALL and probes < clusters:
            probes = min(max(1, 2 * probes), clusters)
            recall = self._recall(units[choosing], expected[choosing], probes)
        return IvfFacts(
            rows=len(rows),
            clusters=clusters,
            probes=probes,
            recall=self._recall(units[stating], expected[stating], probes),
            recall_at=expected.shape[1],
            queries=len(stating),
            embeddings_sha256=self.embeddings_sha256,
        )

    def _recall(self, queries: Floats, expected: Ints, probes: int) -> float:
        """Return the share of the columns expected by each query that is found."""
        count = min(self.first, len(self.lists.order))
        found = (self._found(query, count, probes)[0] for query in queries)
        return float(np.mean([np.isin(e, f) for e, f in zip(expected, found, strict=True)]))


def recall_queries(rows: int, draw: int) -> Ints:
    """Return the columns that ask for the others, in draw 0 or 1.

    The draws have no column in common, where there are enough.
    """
    order = np.roll(np.random.default_rng(1).permutation(rows), -draw * _RECALL_QUERIES)
    return np.sort(order[:_RECALL_QUERIES])


def _nearest_others(embeddings: Floats, rows: Ints, asking: Ints) -> Ints:
    """Return the columns nearest to those ``asking``, among all others, in fp32.

    A bank of one row has itself.
    """
    units = normalise(embeddings[rows[asking]])
    count = max(min(_RECALL_AT, len(rows) - 1), 1)
    scores = np.empty((len(asking), 0), np.float32)
    columns = np.empty((len(asking), 0), np.int64)
    for start, block in blocks(embeddings, rows):
        here = np.arange(start, start + len(block))
        near = units @ normalise(block).T
        near[here == asking[:, None]] = -np.inf
        scores = np.concatenate([scores, near], axis=1)
        columns = np.concatenate([columns, np.broadcast_to(here, near.shape)], axis=1)
        best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        scores = np.take_along_axis(scores, best, axis=1)
        columns = np.take_along_axis(columns, best, axis=1)
    return columns
