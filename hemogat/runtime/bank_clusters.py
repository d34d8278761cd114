"""The rows of a bank in clusters, as lists: what an approximate search is made of, and is stored.

A list holds the rows that are nearest to one centroid. All lists lie one after the other in
``order``; list n is ``order[offsets[n]:offsets[n + 1]]``, ascending.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hemogat.optional import require
from hemogat.runtime.bank_search import Floats, Ints, normalise

AT_ONCE = 16_384  # rows that are in memory as fp32 at once
LEVELS = 127  # the largest 8-bit code, of the largest number
SMALLEST = float(np.finfo(np.float32).tiny)
_TRAINED_ON = 48  # rows per cluster
_KMEANS = {"niter": 8, "spherical": True, "seed": 0, "min_points_per_centroid": 1}


@dataclass(frozen=True)
class ClusterLists:
    """One modality's rows in clusters.

    ``centroids`` float32 [C, d]; ``order`` int64 [R], columns: which of the rows that have the
    modality; ``offsets`` int64 [C + 1]; ``step`` what one step of the rows' 8-bit codes is worth.
    """

    centroids: Floats
    order: Ints
    offsets: Ints
    step: np.float32

    def cluster_of(self) -> Ints:
        """Return the cluster [R] of each column."""
        clusters = np.empty(len(self.order), np.int64)
        clusters[self.order] = np.repeat(np.arange(len(self.centroids)), np.diff(self.offsets))
        return clusters

    def problem(self, rows: int, dim: int) -> str | None:
        """Say what is wrong with these lists for so many rows of so many dimensions, if anything.

        Every row must lie in exactly one list.
        """
        count = len(self.centroids) if self.centroids.ndim else 0
        if not count or self.centroids.shape != (count, dim):
            return f"expected centroids of {dim} dimensions, found {self.centroids.shape}"
        if not np.isfinite(self.centroids).all():
            return "expected finite centroids"
        if self.order.shape != (rows,):
            return f"expected {rows} rows, found {self.order.shape}"
        ends = self.offsets.shape == (count + 1,) and (self.offsets[0], self.offsets[-1])
        if ends != (0, rows) or (self.offsets[1:] < self.offsets[:-1]).any():
            return f"expected {count + 1} offsets that grow from 0 to {rows}"
        if not np.array_equal(np.sort(self.order), np.arange(rows)):
            return "expected every row in exactly one list"
        if not (np.isfinite(self.step) and self.step >= SMALLEST):
            return f"expected a step above 0, found {self.step}"
        return None


def cluster(embeddings: Floats, rows: Ints) -> ClusterLists:
    """Sort rows into about √rows clusters; on one machine the same rows always give the same.

    Elsewhere sums are rounded otherwise, and a row between two clusters may lie in the other.

    Raises:
        IncompleteError: faiss is not installed.
    """
    faiss = require("faiss", extra="search")
    dim, clusters = embeddings.shape[1], 2 ** round(math.log2(math.sqrt(len(rows))))
    random = np.random.default_rng(0)
    sample = random.permutation(len(rows))[: clusters * _TRAINED_ON]
    kmeans = faiss.Kmeans(dim, clusters, **_KMEANS)
    kmeans.train(normalise(embeddings[rows[np.sort(sample)]]))
    centres = faiss.IndexFlatIP(dim)
    centres.add(kmeans.centroids)
    largest, nearest = [], []
    for _, block in blocks(embeddings, rows):
        units = normalise(block)
        largest.append(np.abs(units).max())
        nearest.append(centres.search(units, 1)[1][:, 0])
    of_column = np.concatenate(nearest)
    sizes = np.bincount(of_column, minlength=clusters)
    return ClusterLists(
        kmeans.centroids,
        np.argsort(of_column, kind="stable"),
        np.concatenate([[0], np.cumsum(sizes)]),
        step_of(np.array(largest, np.float32)),
    )


def blocks(embeddings: Floats, rows: Ints) -> Iterator[tuple[int, Floats]]:
    """Give, block by block, the first column and the rows' embeddings."""
    for start in range(0, len(rows), AT_ONCE):
        yield start, embeddings[rows[start : start + AT_ONCE]]


def step_of(values: Floats) -> np.float32:
    """Return what one step of an 8-bit code of ``values`` is worth."""
    return np.float32(max(float(np.abs(values).max(initial=0)) / LEVELS, SMALLEST))


def sha256_of_rows(embeddings: Floats, rows: Ints) -> str:
    """Return the SHA-256 of these rows' embeddings: what an index says that it was made of."""
    digest = hashlib.sha256()
    for _, block in blocks(embeddings, rows):
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()
