"""8-bit codes of bank rows, in faiss: all of them, or the clusters nearest to the query."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from hemogat.optional import require
from hemogat.runtime.bank_search import Candidates, Floats, Ints, Scan, normalise

_LEVELS = 127
_SMALLEST = float(np.finfo(np.float32).tiny)
_AT_ONCE = 16_384  # rows that are in memory as fp32 while codes are made
# Candidates of an exact search: in a larger bank more rows are near. Too few cost a second scan.
_FIRST = (32, 256)
_ROWS_PER_CANDIDATE = 128
_TRAINED_ON = 48  # rows per cluster
_KMEANS = {"niter": 8, "spherical": True, "seed": 0, "min_points_per_centroid": 1}
_RECALL = 0.995  # of the ten nearest, by which the number of clusters to look into is chosen
_RECALL_QUERIES = 128
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
        self._step = _step(_largest(embeddings, rows))
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        metric = faiss.METRIC_INNER_PRODUCT
        self._index = faiss.IndexScalarQuantizer(embeddings.shape[1], kind, metric)
        self._off = 0.0
        for _, units, codes in _coded(embeddings, rows, self._step):
            self._index.add(codes)
            off = np.linalg.norm(units - codes * self._step, axis=1).max()
            self._off = max(self._off, float(off))

    def candidates(self, query: Floats, count: int) -> Candidates:
        """Score all codes."""
        step = _step(query)
        code = np.rint(query / step)
        scores, columns = self._index.search(code[None], count)
        off = float(np.linalg.norm(query - code * step)) * (1 + self._off) + self._off
        return Candidates(columns[0], scores[0] * (step * self._step), off)


class IVFScan(Scan):
    """The codes of the clusters nearest to the query: approximate, for large banks.

    ``recall``: the share of the ten nearest that is found, measured on rows of the bank, each
    asking for the others. As many clusters (``probes`` of ``clusters``) are looked into as it takes
    for 99.5 %.

    Raises:
        IncompleteError: faiss is not installed.
    """

    first = 128

    def __init__(self, embeddings: Floats, rows: Ints) -> None:
        faiss = require("faiss", extra="search")
        self._step = _step(_largest(embeddings, rows))
        dim, clusters = embeddings.shape[1], 2 ** round(math.log2(math.sqrt(len(rows))))
        random = np.random.default_rng(0)
        sample = random.permutation(len(rows))[: clusters * _TRAINED_ON]
        units = normalise(embeddings[rows[np.sort(sample)]])
        kmeans = faiss.Kmeans(dim, clusters, **_KMEANS)
        kmeans.train(units)
        self._centres = faiss.IndexFlatIP(dim)
        self._centres.add(kmeans.centroids)
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        metric = faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexIVFScalarQuantizer(self._centres, dim, clusters, kind, metric, False)
        index.is_trained = True
        self._index: Any = index
        self.clusters = clusters
        for start, units, codes in _coded(embeddings, rows, self._step):
            cluster = np.ascontiguousarray(self._centres.search(units, 1)[1][:, 0])
            ids = np.arange(start, start + len(units), dtype=np.int64)
            pointers = (faiss.swig_ptr(array) for array in (codes, ids, cluster))
            self._index.add_core(len(units), *pointers)
        queries = rows[np.sort(random.permutation(len(rows))[:_RECALL_QUERIES])]
        self.recall = self._choose_probes(embeddings, rows, queries)

    def candidates(self, query: Floats, count: int) -> Candidates:
        """Score the codes of the nearest clusters."""
        scores, columns = self._searched(query[None], count, self.probes)
        if columns[0, -1] < 0:  # the clusters hold fewer rows than that
            scores, columns = self._searched(query[None], count, self.clusters)
        there = columns[0] >= 0
        return Candidates(columns[0][there], scores[0][there], None)

    def _searched(self, units: Floats, count: int, probes: int) -> tuple[Floats, Ints]:
        """Return scores and columns [B, count], -1 where the clusters hold fewer rows."""
        near, clusters = self._centres.search(units, probes)
        codes = np.rint(units / _step(units))
        self._index.nprobe = probes
        scores, columns = self._index.search_preassigned(codes, count, clusters, near)
        return scores, columns

    def _choose_probes(self, embeddings: Floats, rows: Ints, queries: Ints) -> float:
        """Look into as few clusters as give the recall; return it."""
        units = normalise(embeddings[queries])
        expected = _nearest(embeddings, rows, units, min(_RECALL_AT + 1, len(rows)))
        recall, probes = 0.0, 1
        while recall < _RECALL and probes < self.clusters:
            probes = min(2 * probes, self.clusters)
            found = self._searched(units, self.first, probes)[1]
            hits = [np.isin(e, f).mean() for e, f in zip(expected, found, strict=True)]
            recall = float(np.mean(hits))
        self.probes = probes
        return recall


def _step(values: Floats) -> np.float32:
    """Return what one step of an 8-bit code of ``values`` is worth."""
    return np.float32(max(float(np.abs(values).max(initial=0)) / _LEVELS, _SMALLEST))


def _largest(embeddings: Floats, rows: Ints) -> Floats:
    """Return the largest absolute value of any dimension of the unit rows, block by block."""
    blocks = range(0, len(rows), _AT_ONCE)
    units = (normalise(embeddings[rows[start : start + _AT_ONCE]]) for start in blocks)
    return np.array([np.abs(block).max() for block in units], np.float32)


def _coded(
    embeddings: Floats, rows: Ints, step: np.float32
) -> Iterator[tuple[int, Floats, Floats]]:
    """Give, block by block, the first column, the unit rows and their codes as whole floats."""
    for start in range(0, len(rows), _AT_ONCE):
        units = normalise(embeddings[rows[start : start + _AT_ONCE]])
        yield start, units, np.rint(units / step)


def _nearest(embeddings: Floats, rows: Ints, units: Floats, count: int) -> Ints:
    """Return the columns [Q, count] nearest to ``units`` [Q, d], among all, in fp32."""
    scores = np.full((len(units), 0), 0, np.float32)
    columns = np.empty((len(units), 0), np.int64)
    for start in range(0, len(rows), _AT_ONCE):
        block = normalise(embeddings[rows[start : start + _AT_ONCE]])
        scores = np.concatenate([scores, units @ block.T], axis=1)
        here = np.arange(start, start + len(block))
        columns = np.concatenate([columns, np.broadcast_to(here, (len(units), len(here)))], axis=1)
        best = np.argsort(-scores, axis=1)[:, :count]
        scores = np.take_along_axis(scores, best, axis=1)
        columns = np.take_along_axis(columns, best, axis=1)
    return columns
