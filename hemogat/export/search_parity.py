"""The bank searched outside the graph, beside the fusion graph that has it inside."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hemogat.contract import SearchMode
from hemogat.export.parity import embedding_pairs
from hemogat.model.bank import Embeddings
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.fusion_inputs import fusion_feeds
from hemogat.runtime.gather_session import installed_searches, open_fusion
from hemogat.runtime.parity_report import SearchRow
from hemogat.runtime.pipeline import Pipeline

_EQUALLY_SIMILAR = 1e-5  # rounding orders such rows


def compare_searches(pipeline: Pipeline, embeddings: Embeddings) -> Iterator[SearchRow]:
    """Compare every way of searching that is installed here with the pipeline's fusion graph.

    Nothing for a bundle without ``fusion_gather``, or an engine that does not run it. The inputs
    are the reference's embeddings, as the fusion graph itself is compared on them.
    """
    bundle = pipeline.bundle
    if bundle.manifest.bank.gather is None or pipeline.engine == "trt":
        return
    pairs = embedding_pairs(embeddings)
    inside = pipeline.fuse(pairs)
    feeds = fusion_feeds(pairs, bundle.manifest.dims)
    for mode in installed_searches():
        outside = open_fusion(
            bundle, engine=pipeline.engine, precision=pipeline.precision, search=mode
        ).run(feeds)
        yield _compared(mode, inside, outside)


def _compared(mode: SearchMode, inside: Arrays, outside: Arrays) -> SearchRow:
    decided, again = (found["probabilities"] for found in (inside, outside))
    rows = inside["neighbours"]
    found = (rows[:, :, None] == outside["neighbours"][:, None, :]).any(axis=2)
    found |= np.abs(inside["similarities"] - outside["similarities"]) <= _EQUALLY_SIMILAR
    return SearchRow(
        mode=mode,
        flips=int((decided.argmax(axis=1) != again.argmax(axis=1)).sum()),
        max_abs_diff=float(np.abs(decided - again).max()),
        recall=float(found[rows >= 0].mean()),
    )
