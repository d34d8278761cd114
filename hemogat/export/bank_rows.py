"""``hemogat bank``: which rows a bundle's bank gets, or keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat.contract import MODALITIES
from hemogat.data.manifest import Utterance, read_manifest
from hemogat.errors import BundleError, InputError
from hemogat.export.bank_update import NewBank, fp32_first, write_with_bank
from hemogat.progress import Progress
from hemogat.runtime.bank_search import BankSearch, gather_states, normalise
from hemogat.runtime.bank_tensors import Tensors, map_tensors
from hemogat.runtime.bundle import BankIndex, Bundle
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.fusion_inputs import Embedding, fusion_feeds
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.sessions import open_graph

_AT_ONCE = 32
_EQUAL = 1e-5  # of an embedding's length: how far another batch's rounding may move it
_ASKING_ROWS = 10_000  # that say which rows are useful; of a larger bank as many, evenly spread


def add_rows(bundle: Bundle, manifest: Path, out: Path, progress: Progress | None = None) -> Bundle:
    """Write ``bundle`` to ``out`` with every utterance of ``manifest`` in its bank.

    They are embedded with the bundle's own engine, fp32 where there is one. New rows take messages
    from the old ones, never the other way and not from each other, so that the old rows' states
    stay as they are. Nothing is trained.

    Raises:
        InputError: the manifest has other labels, an utterance cannot be used, or ``out`` exists.
        BundleError: the bundle was exported without what this takes.
        IncompleteError: an engine is not installed.
    """
    if out.exists():
        raise InputError(f"{out}: exists already and would be overwritten; name another place")
    bank = bundle.manifest.bank
    if bundle.manifest.slots and bank.states is None:
        raise BundleError(
            f"{bundle.path}: has no bank_states graph, which gives the states of new rows; export "
            f"the run again"
        )
    utterances = read_manifest(manifest, bundle.manifest.labels).utterances
    feeds = _embed(bundle, utterances, manifest, progress or Progress())
    old = map_tensors(bundle.path / bank.tensors)
    labels = [bundle.manifest.labels.index(utterance.label) for utterance in utterances]
    added = {
        "audio": feeds["audio_embedding"],
        "text": feeds["text_embedding"],
        "present": feeds["present"],
        **_states(bundle, old, feeds, np.array(labels)),
    }
    index = bundle.bank_index
    first = 1 + max(int(row_id.lstrip("u")) for row_id in index.ids)
    ids = (*index.ids, *(f"u{first + n:06d}" for n in range(len(utterances))))
    rows = len(index.ids)
    new = NewBank(
        {name: np.concatenate([old[name], added[name]]) for name in added},
        BankIndex(ids=ids, labels=(*index.labels, *(u.label for u in utterances))),
        np.concatenate([np.arange(rows), np.full(len(utterances), -1)]),
        f"{len(utterances)} rows were added to {rows}",
    )
    return write_with_bank(bundle, new, out)


def repeated_rows(bundle: Bundle, first: int) -> int:
    """Count the rows from ``first`` on whose embeddings an earlier row has already."""
    bank = map_tensors(bundle.path / bundle.manifest.bank.tensors)
    present = np.asarray(bank["present"])
    both = [bank[name] for name in MODALITIES]
    lengths = [np.linalg.norm(e, axis=1) for e in both]
    found = 0
    for row in range(first, len(present)):
        # By length first, which few rows share: then there is little to compare.
        alike = (present[:row] == present[row]).all(axis=1)
        for each in lengths:
            alike &= np.isclose(each[:row], each[row], rtol=_EQUAL)
        near = np.flatnonzero(alike)
        equal = [np.abs(e[near] - e[row]).max(axis=1, initial=0) for e in both]
        limits = [_EQUAL * each[row] for each in lengths]
        found += bool(((equal[0] <= limits[0]) & (equal[1] <= limits[1])).any())
    return found


def prune(bundle: Bundle, to: int, out: Path) -> Bundle:
    """Write ``bundle`` to ``out`` with the ``to`` most useful rows of its bank, in their order.

    Useful is what others ask for: a row counts once for every other bank row among whose
    neighbours it is. Each label keeps its share of the rows, at least one. States stay as they
    were computed: what a row once learnt of a neighbour remains when that neighbour goes.

    Raises:
        InputError: ``to`` is more than there are or fewer than labels and neighbours need, or
            ``out`` exists.
        BundleError: the bundle was exported without what this takes.
    """
    if out.exists():
        raise InputError(f"{out}: exists already and would be overwritten; name another place")
    old = map_tensors(bundle.path / bundle.manifest.bank.tensors)
    index, graph = bundle.bank_index, bundle.manifest.graph
    rows = len(index.ids)
    if not max(len(set(index.labels)), 1) <= to <= rows:
        raise InputError(
            f"--to: expected {len(set(index.labels))} (one row per label) to {rows} rows, found "
            f"{to}"
        )
    times = _times_retrieved(old, (graph.k_audio, graph.k_text))
    kept = _most_useful(times, index.labels, to)
    for number, (name, k) in enumerate((("audio", graph.k_audio), ("text", graph.k_text))):
        found = int(old["present"][kept, number].sum())
        if found < k:
            raise InputError(f"--to {to}: leaves {found} rows with {name}, the model asks for {k}")
    stored = [name for name in old if not name.endswith(("_rows", "_table"))]
    new = NewBank(
        {name: old[name][kept] for name in stored},
        BankIndex(
            ids=tuple(index.ids[row] for row in kept),
            labels=tuple(index.labels[row] for row in kept),
        ),
        kept,
        f"{to} rows were kept of {rows}",
    )
    return write_with_bank(bundle, new, out)


def _embed(
    bundle: Bundle, utterances: Sequence[Utterance], manifest: Path, progress: Progress
) -> Arrays:
    engine, precision = fp32_first(bundle)
    pipeline = Pipeline(bundle, engine=engine, precision=precision)
    embeddings: list[tuple[Embedding | None, Embedding | None]] = []
    with progress.stage("Embed", len(utterances)) as stage:
        for start in range(0, len(utterances), _AT_ONCE):
            part = utterances[start : start + _AT_ONCE]
            ready = [
                pipeline.preprocessor.prepare(u.audio, u.text, name=f"{manifest}: {u.id}")
                for u in part
            ]
            audio, text = pipeline.embed_audio(ready), pipeline.embed_text(ready)
            embeddings += zip(audio, text, strict=True)
            stage.advance(len(part))
    return fusion_feeds(embeddings, bundle.manifest.dims)


def _states(bundle: Bundle, old: Tensors, feeds: Arrays, labels: NDArray[np.int64]) -> Arrays:
    """Return the per-layer states of new rows, whose neighbours are old ones."""
    graph = bundle.manifest.bank.states
    if graph is None:
        return {}
    engine, _ = fp32_first(bundle)
    session = open_graph(str(bundle.path / graph), engine)
    search = BankSearch(old, bundle.manifest.graph, mode="exact")
    layers = range(bundle.manifest.head.num_layers)
    parts = []
    for start in range(0, len(labels), _AT_ONCE):
        part = {name: value[start : start + _AT_ONCE] for name, value in feeds.items()}
        found = search(part["audio_embedding"], part["text_embedding"], part["present"])
        gathered = gather_states(old, layers, found.index)
        label = {"label": labels[start : start + _AT_ONCE]}
        parts.append(session.run({**part, **gathered, **label}))
    return {name: np.concatenate([part[name] for part in parts]) for name in session.outputs}


def _times_retrieved(old: Tensors, k: Sequence[int]) -> NDArray[np.int64]:
    """Count for each row how many other rows it is a neighbour of."""
    times = np.zeros(len(old["present"]), np.int64)
    for modality, count in zip(("audio", "text"), k, strict=True):
        rows = np.asarray(old[f"{modality}_rows"])
        spaced = np.linspace(0, len(rows) - 1, min(_ASKING_ROWS, len(rows))).astype(np.int64)
        asking = np.unique(spaced)
        for start in range(0, len(asking) if count else 0, _AT_ONCE):
            columns = asking[start : start + _AT_ONCE]
            cosines = normalise(old[modality][rows[columns]]) @ old[f"{modality}_table"]
            cosines[np.arange(len(columns)), columns] = -np.inf  # not of itself
            nearest = min(count, len(rows) - 1)
            best = np.argsort(-cosines, axis=1, kind="stable")[:, :nearest]
            np.add.at(times, rows[best], 1)
    return times


def _most_useful(times: NDArray[np.int64], labels: Sequence[str], to: int) -> NDArray[np.int64]:
    """Return ``to`` rows, ascending: of each label its share, those that count most."""
    names: NDArray[Any] = np.array(labels)
    kept = []
    for label, quota in _quotas(Counter(labels), to).items():
        rows = np.flatnonzero(names == label)
        kept.append(rows[np.argsort(-times[rows], kind="stable")[:quota]])
    return np.sort(np.concatenate(kept))


def _quotas(counts: Counter[str], to: int) -> dict[str, int]:
    """Share ``to`` rows out by the labels' counts (largest remainders), at least one each."""
    total = counts.total()
    quotas = {label: max(1, to * count // total) for label, count in counts.items()}
    by_remainder = sorted(counts, key=lambda label: -(to * counts[label] % total))
    while (missing := to - sum(quotas.values())) != 0:
        step = 1 if missing > 0 else -1
        for label in by_remainder if step > 0 else sorted(quotas, key=lambda n: -quotas[n]):
            if 1 <= quotas[label] + step <= counts[label]:
                quotas[label] += step
                break
        by_remainder = by_remainder[1:] + by_remainder[:1]
    return quotas
