"""Bundles with another bank: rows added or taken away, without training and without torch.

A new bundle is written beside the old one, which is never touched. Files that stay as they are are
copied into it; what holds the bank is written anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hemogat.contract import INT8_PRECISIONS, MODALITIES, Engine, Precision
from hemogat.errors import BundleError
from hemogat.export.bank_index import write_index
from hemogat.export.onnx_files import save_graph, write_bank
from hemogat.export.packed_head import pack_head
from hemogat.files import copy_file, folder_written_whole
from hemogat.runtime.bank_search import normalise
from hemogat.runtime.bank_tensors import Tensors, map_tensors
from hemogat.runtime.bundle import (
    MANIFEST_FILE,
    SUMS_FILE,
    BankIndex,
    Bundle,
    BundleManifest,
    ModelFile,
    write_sums,
)
from hemogat.runtime.gather_session import installed_searches
from hemogat.runtime.golden import GoldenFile, golden_cases, read_golden
from hemogat.runtime.ivf_facts import IvfFiles
from hemogat.runtime.parity_report import PARITY_FILE, ParityFile, read_parity
from hemogat.runtime.pipeline import Pipeline

_PLANS = "trt"
_CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class NewBank:
    """A bank that takes the place of a bundle's.

    ``tensors``: audio, text, present and states, as in the bank's file; what is searched is made
    from them. ``kept``: int64 [M], the old row of each, -1 where it is new. ``change``: what was
    done, in words.
    """

    tensors: Mapping[str, NDArray[Any]]
    index: BankIndex
    kept: NDArray[np.int64]
    change: str


def write_with_bank(bundle: Bundle, bank: NewBank, out: Path) -> Bundle:
    """Write ``bundle`` with another bank to ``out``, whole or not at all; return it.

    TensorRT plans hold the old bank and are left out. A stored index is made anew; without faiss
    it is left out too. The golden cases are answered anew, by an
    fp32 engine where there is one. Parity reports stay, marked as of the bank before.

    Raises:
        BundleError: without its plans the bundle would have no engine, or it has no ONNX fusion
            graph.
        InputError: ``out`` exists.
        IncompleteError: an engine of the bundle is not installed.
    """
    manifest = bundle.manifest
    models = tuple(model for model in manifest.models if model.engine != _PLANS)
    source = (bundle.path / manifest.bank.tensors).with_name("model.onnx")
    if not models or not source.is_file():
        raise _no_graphs(bundle)
    with folder_written_whole(out) as folder:
        _copy_unchanged(bundle, models, folder)
        place = (folder / manifest.bank.tensors).parent
        path = _rewrite_onnx(bundle, source, place, bank)
        for model in models:
            if model.graph == "fusion" and folder / model.path != path:
                _convert(path, folder / model.path, model)
        _write(folder / manifest.bank.index, bank.index.model_dump_json(indent=1))
        changed = _manifest(manifest, models, bank, _index(manifest, folder))
        _write(folder / MANIFEST_FILE, changed.model_dump_json(indent=1))
        _write_reports(bundle, models, bank.change, folder)
        _answer_golden(bundle, Bundle(folder, changed))
        write_sums(folder)
    return Bundle(out, changed)


def fp32_first(bundle: Bundle) -> tuple[Engine, Precision]:
    """Return the engine and precision to embed with: fp32 where there is one.

    Raises:
        BundleError: there are TensorRT plans alone, or no engine at all.
    """
    listed = [(m.engine, m.precision) for m in bundle.manifest.models if m.engine != _PLANS]
    if not listed:
        raise _no_graphs(bundle)
    return min(listed, key=lambda target: target[1] != "fp32")


def _no_graphs(bundle: Bundle) -> BundleError:
    return BundleError(
        f"{bundle.path}: expected an engine onnx or openvino and the ONNX fusion graph, which a "
        "changed bank is written into; export the run again"
    )


def _copy_unchanged(bundle: Bundle, models: tuple[ModelFile, ...], folder: Path) -> None:
    """Copy what holds no bank: encoders, graphs without a bank, tokenizer, inputs."""
    manifest = bundle.manifest
    written = {MANIFEST_FILE, SUMS_FILE, PARITY_FILE, _CARD, manifest.golden, manifest.bank.index}
    written |= set() if manifest.bank.ivf is None else {manifest.bank.ivf.tensors}
    for path in sorted(p for p in bundle.path.rglob("*") if p.is_file()):
        inside = path.relative_to(bundle.path)
        plan = any(part.startswith(f"{_PLANS}-") for part in inside.parts)
        script = inside.name.startswith("build_engines")
        if inside.parts[0] == "fusion" or plan or script or inside.as_posix() in written:
            continue
        copy_file(path, folder / inside)


def _rewrite_onnx(bundle: Bundle, source: Path, place: Path, bank: NewBank) -> Path:
    old = map_tensors(bundle.path / bundle.manifest.bank.tensors)
    model = ir.load(source)
    write_bank(model, {**bank.tensors, **_searched(old, bank)}, place)
    return save_graph(model, place)


def _searched(old: Tensors, bank: NewBank) -> Tensors:
    """Return the tables that the graph searches; columns of rows that stay are taken over."""
    searched: Tensors = {}
    for number, modality in enumerate(MODALITIES):
        rows = np.flatnonzero(bank.tensors["present"][:, number])
        table = normalise(bank.tensors[modality][rows]).T
        columns = np.full(len(old["present"]), -1)
        columns[old[f"{modality}_rows"]] = np.arange(len(old[f"{modality}_rows"]))
        stay = bank.kept[rows] >= 0
        table[:, stay] = old[f"{modality}_table"][:, columns[bank.kept[rows][stay]]]
        searched |= {f"{modality}_rows": rows, f"{modality}_table": table}
    return searched


def _convert(onnx: Path, path: Path, model: ModelFile) -> None:
    from hemogat.export.openvino_ir import compress_weights, convert

    if model.engine == "onnx":
        pack_head(onnx, path.parent)
    elif model.precision in INT8_PRECISIONS:
        compress_weights(onnx, path.parent)
    else:
        convert(onnx, path.parent, "bf16" if model.precision == "bf16" else "fp32")


def _index(manifest: BundleManifest, folder: Path) -> IvfFiles | None:
    """Make the index anew for the new bank, where there was one."""
    if manifest.bank.ivf is None or "ivf" not in installed_searches():
        return None
    return write_index(map_tensors(folder / manifest.bank.tensors), manifest.graph, folder)


def _manifest(
    manifest: BundleManifest,
    models: tuple[ModelFile, ...],
    bank: NewBank,
    index: IvfFiles | None,
) -> BundleManifest:
    files = manifest.bank.model_copy(update={"rows": len(bank.index.ids), "ivf": index})
    provenance = manifest.provenance.model_copy(
        update={
            "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "run_sha256": None,  # exports of the run hold the old bank and must not join
            "bank_changes": (*manifest.provenance.bank_changes, bank.change),
        }
    )
    return manifest.model_copy(update={"models": models, "bank": files, "provenance": provenance})


def _write_reports(
    bundle: Bundle, models: tuple[ModelFile, ...], change: str, folder: Path
) -> None:
    kept = {f"{model.engine}-{model.precision}" for model in models}
    reason = "compared before the bank was changed"
    reports = {
        target: report.model_copy(update={"ungated": report.ungated or reason})
        for target, report in read_parity(bundle).reports.items()
        if target in kept
    }
    _write(folder / PARITY_FILE, ParityFile(reports=reports).model_dump_json(indent=1))
    card = bundle.path / _CARD
    if card.is_file():
        try:
            title, _, rest = card.read_text(encoding="utf-8").partition("\n")
        except UnicodeDecodeError as error:
            raise BundleError(f"{card}: is not UTF-8 text ({error})") from error
        note = f"**The bank was changed: {change}. Accuracy and parity below are of before.**"
        _write(folder / _CARD, f"{title}\n\n{note}\n{rest}".rstrip("\n"))


def _answer_golden(old: Bundle, new: Bundle) -> None:
    """Answer the golden cases with the new bank, in fp32 and in each engine that had its own."""
    golden, cases = read_golden(old), golden_cases(old)

    def answers(engine: Engine, precision: Precision) -> tuple[tuple[float, ...], ...]:
        pipeline = Pipeline(new, engine=engine, precision=precision)
        found = (pipeline(case.audio, case.text) for case in cases)
        return tuple(tuple(prediction.probabilities.values()) for prediction in found)

    reference = answers(*fp32_first(new))
    targets = {(m.engine, m.precision): None for m in new.manifest.models}
    own = {f"{e}-{p}": answers(e, p) for e, p in targets if f"{e}-{p}" in golden.own}
    labels = new.manifest.labels
    records = tuple(
        record.model_copy(update={"label": labels[int(np.argmax(p))], "probabilities": p})
        for record, p in zip(golden.cases, reference, strict=True)
    )
    answered: GoldenFile = golden.model_copy(update={"cases": records, "own": own})
    _write(new.path / new.manifest.golden, answered.model_dump_json(indent=1))


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content + "\n", encoding="utf-8")
