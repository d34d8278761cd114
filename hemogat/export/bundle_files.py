"""The files of a bundle that are not models, and what stays of the bundle that was there before."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import soundfile

from hemogat.config import GraphConfig
from hemogat.contract import SAMPLE_RATE_HZ
from hemogat.data.manifest import Utterance
from hemogat.errors import InputError
from hemogat.export.bank_index import INDEX_FILE, write_wanted_index
from hemogat.export.onnx_files import BANK_FILE
from hemogat.export.parity import ReferenceAnswers
from hemogat.export.targets import (
    BANK_FOLDER,
    FUSION_FOLDER,
    GATHER_GRAPH,
    GATHER_INT8_GRAPH,
    STATES_GRAPH,
)
from hemogat.export_config import ParityConfig
from hemogat.files import copy_file
from hemogat.runtime.bundle import MANIFEST_FILE, BankFiles, BankIndex, Bundle, sha256_of
from hemogat.runtime.golden import GoldenFile, GoldenRecord, golden_cases, read_golden
from hemogat.runtime.pipeline import Pipeline
from hemogat.training.preparation import PreparedRow
from hemogat.training.run_directory import RECORD_FILE, RunDirectory

GOLDEN = "golden/golden.json"
BANK_INDEX = f"{BANK_FOLDER}/rows.json"
_GOLDEN_CASES = 4
_MODELS = ("audio_encoder", "text_encoder", "fusion")


def run_sha256(run: RunDirectory) -> str:
    """Return what stands for a run: one hash over its record, its tokenizer and all its weights."""
    digest = hashlib.sha256()
    files = [run.path / RECORD_FILE, *run.path.rglob("*.safetensors")]
    if run.tokenizer_path.is_file():
        files.append(run.tokenizer_path)
    for path in sorted(files):
        digest.update(f"{path.relative_to(run.path).as_posix()} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def check_bank_unchanged(out: Path) -> None:
    """Refuse to replace a bundle whose bank was changed: no run holds its rows.

    Raises:
        BundleError: the bundle's ``bundle.json`` cannot be used.
        InputError: its bank was changed since it was exported.
    """
    if not (out / MANIFEST_FILE).is_file():
        return
    if changes := Bundle.open(out, verify=False).manifest.provenance.bank_changes:
        raise InputError(
            f"{out}: is a bundle whose bank was changed ({'; '.join(changes)}), which an export "
            "would replace by the run's; name another --out"
        )


def carry_over(out: Path, folder: Path, run_hash: str, target: str) -> Bundle | None:
    """Take the other targets' models of the bundle at ``out`` into ``folder``; return the bundle.

    None, and nothing taken, where there is no bundle or it is of another run. ``target`` is what is
    exported anew.

    Raises:
        BundleError: the bundle is damaged.
    """
    if not (out / MANIFEST_FILE).is_file():
        return None
    earlier = Bundle.open(out, verify=False)
    if earlier.manifest.provenance.run_sha256 != run_hash:
        return None
    earlier = Bundle.open(out)
    anew = (out / BANK_INDEX, out / INDEX_FILE)
    bank = (path for path in (out / BANK_FOLDER).rglob("*") if path not in anew)
    for path in sorted((*_models(out), *bank)):
        inside = path.relative_to(out)
        if inside.parts[1] != target and path.is_file():
            copy_file(path, folder / inside)
    return earlier


def write_bank_index(
    run: RunDirectory,
    graph: GraphConfig,
    folder: Path,
    earlier: Bundle | None,
    *,
    ivf: bool | None = None,
) -> BankFiles:
    """Write the labels of the bank's rows, and the index of a large one; return the bank's files.

    ``ivf``: whether there shall be an index; None: for a large bank, and where ``earlier`` has one.
    """
    (folder / BANK_FOLDER).mkdir(exist_ok=True)
    labels = [row.label for row in run.record.rows if row.split == "train"]
    # Opaque ids: file names of training data may hold people's names.
    ids = [f"u{row:06d}" for row in range(len(labels))]
    index = BankIndex(ids=tuple(ids), labels=tuple(labels))
    write_json(folder / BANK_INDEX, index.model_dump(mode="json"))
    names = (STATES_GRAPH, GATHER_GRAPH, GATHER_INT8_GRAPH)
    states, gather, gather_int8 = (n if (folder / n).is_file() else None for n in names)
    tensors = f"{FUSION_FOLDER}/{BANK_FILE}"
    searched = None
    if gather is not None:  # nothing else reads it
        bank = folder / tensors
        searched = write_wanted_index(bank, graph, folder, wanted=ivf, earlier=earlier)
    return BankFiles(
        rows=len(labels),
        tensors=tensors,
        index=BANK_INDEX,
        states=states,
        gather=gather,
        gather_int8=gather_int8,
        ivf=searched,
    )


def write_golden(
    labels: Sequence[str],
    limits: ParityConfig,
    utterances: Sequence[Utterance],
    rows: Sequence[PreparedRow],
    expected: ReferenceAnswers,
    folder: Path,
) -> None:
    """Store a few utterances, spread over those given, with the reference's answers."""
    (folder / "golden").mkdir()
    records = []
    count = min(_GOLDEN_CASES, len(rows))
    for case in range(count):
        n = case * len(rows) // count
        audio = None
        samples = rows[n].samples
        if samples is not None:
            audio = f"{case}.wav"
            # Float samples at the model's own rate: what the reference heard, to the last bit.
            soundfile.write(folder / "golden" / audio, samples, SAMPLE_RATE_HZ, subtype="FLOAT")
        probabilities = tuple(float(p) for p in expected.probabilities[n])
        label = labels[int(expected.probabilities[n].argmax())]
        records.append(
            GoldenRecord(
                audio=audio,
                text=None if rows[n].tokens is None else utterances[n].text,
                label=label,
                probabilities=probabilities,
            )
        )
    allowed = limits.max_abs_diff or ParityConfig().max_abs_diff or 0.0
    golden = GoldenFile(max_abs_diff=allowed, cases=tuple(records))
    write_json(folder / GOLDEN, golden.model_dump(mode="json"))


def keep_golden(earlier: Bundle, folder: Path) -> None:
    """Take the golden cases of the bundle that was there, so that its engines keep theirs."""
    shutil.copytree(earlier.path / Path(earlier.manifest.golden).parent, folder / "golden")


def add_own_answers(pipeline: Pipeline, target: str) -> None:
    """Store what an engine below fp32 answers to the golden cases."""
    golden = read_golden(pipeline.bundle)
    answers = tuple(
        tuple(pipeline(case.audio, case.text).probabilities.values())
        for case in golden_cases(pipeline.bundle)
    )
    golden = golden.model_copy(update={"own": golden.own | {target: answers}})
    write_json(pipeline.bundle.path / GOLDEN, golden.model_dump(mode="json"))


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON; a file of that name is replaced, not written to."""
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _models(bundle: Path) -> list[Path]:
    return [path for graph in _MODELS for path in (bundle / graph).rglob("*")]
