"""What a changed bank does to answers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hemogat.config import GraphConfig
from hemogat.contract import FUNCTION_DOMAIN, MODALITIES
from hemogat.data.manifest import Manifest, read_manifest
from hemogat.errors import InputError
from hemogat.export.bank_update import fp32_first
from hemogat.export.onnx_files import MODEL_FILE
from hemogat.files import copy_file
from hemogat.progress import Progress, Stage
from hemogat.runtime.bank_search import ExactScan, ModalitySearch, union
from hemogat.runtime.bank_tensors import Tensors, map_tensors
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.golden import read_golden
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.sessions import open_graph

_AT_ONCE = 32
_ASKING_ROWS = 1_000


@dataclass(frozen=True)
class BankEffect:
    """Accuracy and unweighted accuracy (mean recall) before and after, as shares."""

    utterances: int
    accuracy: tuple[float, float]
    unweighted_accuracy: tuple[float, float]
    changed_decisions: int


def rows_to_ask(bundle: Bundle, manifest: Path) -> Manifest:
    """Read a manifest's utterances outside its train split.

    Raises:
        InputError: the manifest has other labels, or nothing but its train split.
    """
    found = read_manifest(manifest, bundle.manifest.labels)
    rows = tuple(u for u in found.utterances if u.split != "train")
    if not rows:
        raise InputError(f"{manifest}: expected utterances outside the train split, found none")
    return replace(found, utterances=rows)


def bank_effect(old: Bundle, new: Bundle, manifest: Manifest) -> BankEffect:
    """Classify the manifest's utterances with both bundles."""
    rows = manifest.utterances
    engine, precision = fp32_first(new)
    pipelines = [Pipeline(b, engine=engine, precision=precision) for b in (old, new)]
    answers: tuple[list[str], list[str]] = ([], [])
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        prepare = pipelines[0].preprocessor.prepare
        ready = [prepare(u.audio, u.text, name=f"{manifest.path}: {u.id}") for u in part]
        for pipeline, collected in zip(pipelines, answers, strict=True):
            collected += [prediction.label for prediction in pipeline.classify(ready)]
    return _compared([u.label for u in rows], *answers)


def effect_on_rows(old: Bundle, new: Bundle, progress: Progress) -> BankEffect | None:
    """Classify rows of the old bank with both banks, each without itself among its neighbours.

    Of a larger bank 1,000 rows, evenly spread. None where the head takes no neighbours.
    """
    if not old.manifest.slots:
        return None
    index = old.bank_index
    asking = np.unique(np.linspace(0, len(index.ids) - 1, _ASKING_ROWS).astype(np.int64))
    answers = []
    with progress.stage("Ask rows of the bank", 2 * len(asking)) as stage:
        for bundle in (old, new):
            at = {row_id: row for row, row_id in enumerate(bundle.bank_index.ids)}
            own = np.array([at.get(index.ids[row], -1) for row in asking])
            asked = map_tensors(old.path / old.manifest.bank.tensors)
            answers.append(_answers(bundle, asked, asking, own, stage))
    return _compared([index.labels[row] for row in asking], *answers)


def _answers(
    bundle: Bundle, asked: Tensors, asking: NDArray[np.int64], own: NDArray[np.int64], stage: Stage
) -> list[str]:
    """Return the labels of rows ``asking`` of ``asked``, which are rows ``own`` of the bundle's."""
    manifest = bundle.manifest
    bank = map_tensors(bundle.path / manifest.bank.tensors)
    labels: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        source = (bundle.path / manifest.bank.tensors).with_name(MODEL_FILE)
        session = open_graph(str(take_neighbours(source, Path(folder))), "onnx")
        for start in range(0, len(asking), _AT_ONCE):
            rows, mine = asking[start : start + _AT_ONCE], own[start : start + _AT_ONCE]
            feeds = {
                "audio_embedding": asked["audio"][rows],
                "text_embedding": asked["text"][rows],
                "present": asked["present"][rows],
            }
            found = neighbours_but(mine, feeds, bank, manifest.graph)
            decided = session.run({**feeds, "neighbours": found})["logits"].argmax(axis=1)
            labels += [manifest.labels[number] for number in decided]
            stage.advance(len(rows))
    return labels


def neighbours_but(
    own: NDArray[np.int64], feeds: Arrays, bank: Tensors, graph: GraphConfig
) -> NDArray[np.int64]:
    """Return [B, K] rows of the bank, without row ``own`` [B] of it; masked slots are -1."""
    found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    for modality, k in zip(MODALITIES, (graph.k_audio, graph.k_text), strict=True):
        rows = np.full((len(own), k), -1)
        cosines = np.zeros((len(own), k), np.float32)
        table = np.asarray(bank[f"{modality}_rows"])
        scan = ExactScan(bank[f"{modality}_table"])
        search = ModalitySearch(bank[modality], table, scan, min(k + 1, len(table))) if k else None
        asking = np.flatnonzero(feeds["present"][:, MODALITIES.index(modality)])
        for number in asking if search else ():
            assert search is not None
            near, similar = search(feeds[f"{modality}_embedding"][number])
            others = np.flatnonzero(near != own[number])[:k]
            rows[number, : len(others)] = near[others]
            cosines[number, : len(others)] = similar[others]
        found.append((rows, cosines))
    return union(*found[0], *found[1], feeds["present"]).index


def take_neighbours(source: Path, folder: Path) -> Path:
    """Write the ONNX fusion graph at ``source`` with its neighbours for an input; return its path.

    Nothing is searched in it. Bank and weights are copied.
    """
    model = ir.load(source)
    (call,) = (node for node in model.graph if node.domain == FUNCTION_DOMAIN)
    neighbours = call.outputs[0]
    kept = [value for value in model.graph.outputs if value not in call.outputs]
    model.graph.outputs[:] = kept
    given = ir.Value(name="neighbours", shape=neighbours.shape, type=neighbours.type)
    neighbours.replace_all_uses_with(given)
    model.graph.remove(call, safe=True)
    model.graph.inputs.append(given)
    for path in source.parent.iterdir():
        if path != source:
            copy_file(path, folder / path.name)
    ir.save(model, folder / source.name)
    return folder / source.name


def effect_on_golden(old: Bundle, new: Bundle) -> tuple[int, int]:
    """Return how many golden cases there are, and how many are decided otherwise."""
    pairs = list(zip(read_golden(old).cases, read_golden(new).cases, strict=True))
    return len(pairs), sum(before.label != after.label for before, after in pairs)


def _compared(truth: Sequence[str], before: Sequence[str], after: Sequence[str]) -> BankEffect:
    labels = np.array(truth)
    right = [np.array(found) == labels for found in (before, after)]
    present = np.unique(labels)
    recalls = [[found[labels == label].mean() for label in present] for found in right]
    return BankEffect(
        len(labels),
        (float(right[0].mean()), float(right[1].mean())),
        (float(np.mean(recalls[0])), float(np.mean(recalls[1]))),
        sum(a != b for a, b in zip(before, after, strict=True)),
    )
