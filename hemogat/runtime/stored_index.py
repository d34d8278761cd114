"""The index of ``ivf`` as a bundle stores it: read, and checked against the bank beside it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hemogat.config import GraphConfig
from hemogat.contract import MODALITIES
from hemogat.errors import BundleError
from hemogat.runtime.bank_clusters import LEVELS, SMALLEST, ClusterLists
from hemogat.runtime.bank_search import Scan
from hemogat.runtime.bank_tensors import Tensors, map_tensors
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.ivf_facts import IvfFacts, IvfFiles

_LOG = logging.getLogger(__name__)
_PARTS = ("centroids", "order", "offsets", "step")
_DTYPES = (np.float32, np.int64, np.int64, np.float32)
AGAIN = "make it anew with: hemogat bank index"


class StoredIndex(NamedTuple):
    """One modality's clusters and what is known of them."""

    lists: ClusterLists
    facts: IvfFacts


def read_index(
    folder: Path, files: IvfFiles | None, graph: GraphConfig, bank: Tensors
) -> dict[str, StoredIndex]:
    """Return a bundle's stored index by modality; empty where it has none.

    Raises:
        BundleError: it cannot be read, or does not fit the bank.
    """
    if files is None:
        return {}
    path = folder / files.tensors
    tensors = map_tensors(path, kind="an index's file", advice=AGAIN)
    index: dict[str, StoredIndex] = {}
    for modality, k in zip(MODALITIES, (graph.k_audio, graph.k_text), strict=True):
        facts = files.facts().get(modality)
        if k and facts is None:
            raise BundleError(f"{path}: has no index by {modality}; {AGAIN}")
        if k and facts is not None:
            lists = _lists(path, tensors, modality)
            rows, dim = len(bank[f"{modality}_rows"]), bank[modality].shape[1]
            problem = lists.problem(rows, dim) or _other(facts, lists)
            if problem:
                raise BundleError(
                    f"{path}: does not fit the bank by {modality}: {problem}; {AGAIN}"
                )
            index[modality] = StoredIndex(lists, facts)
    return index


def check_index(bundle: Bundle, scans: dict[str, Scan]) -> None:
    """Log what an approximate search finds; refuse a stored index that was made of another bank.

    Raises:
        BundleError: the index is of other embeddings than those that were read for it, or its step
            is not theirs, so that codes would overflow or vanish.
    """
    from hemogat.runtime.bank_codes import IVFScan

    files = bundle.manifest.bank.ivf
    for modality, scan in scans.items():
        if not isinstance(scan, IVFScan):
            continue
        path = bundle.path if files is None else bundle.path / files.tensors
        if scan.embeddings_sha256 != scan.facts.embeddings_sha256:
            raise BundleError(f"{path}: is of another bank by {modality}; {AGAIN}")
        if scan.largest_code != (0 if scan.lists.step <= SMALLEST else LEVELS):
            raise BundleError(
                f"{path}: its step by {modality} is not that of the embeddings (largest code "
                f"{scan.largest_code:g}, expected {LEVELS}); {AGAIN}"
            )
        source = "built now" if files is None else "stored"
        _LOG.info("search ivf by %s, index %s: %s", modality, source, scan.facts.in_words())


def index_tensors(scan_lists: dict[str, ClusterLists]) -> Tensors:
    """Return the tensors that a stored index is made of."""
    return {
        f"{modality}_{part}": np.ascontiguousarray(np.atleast_1d(getattr(lists, part)), dtype)
        for modality, lists in scan_lists.items()
        for part, dtype in zip(_PARTS, _DTYPES, strict=True)
    }


def _lists(path: Path, tensors: Tensors, modality: str) -> ClusterLists:
    found = []
    for part, dtype in zip(_PARTS, _DTYPES, strict=True):
        tensor = tensors.get(f"{modality}_{part}")
        if tensor is None or tensor.dtype != dtype:
            raise BundleError(f"{path}: has no {np.dtype(dtype)} {modality}_{part}; {AGAIN}")
        found.append(np.array(tensor))  # not mapped: read whole, and searched all the time
    centroids, order, offsets, step = found
    if step.shape != (1,):
        raise BundleError(f"{path}: expected one number {modality}_step; {AGAIN}")
    return ClusterLists(centroids, order, offsets, step[0])


def _other(facts: IvfFacts, lists: ClusterLists) -> str | None:
    """Say where ``bundle.json`` tells otherwise than the file, if anywhere."""
    sizes = (len(lists.order), len(lists.centroids))
    if sizes != (facts.rows, facts.clusters) or facts.probes > facts.clusters:
        return (
            f"bundle.json tells of {facts.rows} rows in {facts.clusters} clusters, {facts.probes} "
            f"of them looked into, the file of {sizes[0]} in {sizes[1]}"
        )
    return None
