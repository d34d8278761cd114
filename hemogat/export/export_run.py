"""From a run directory to a bundle, through the parity gate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import soundfile
from safetensors.torch import save_file

from hemogat.config import Recipe
from hemogat.contract import SAMPLE_RATE_HZ
from hemogat.data.manifest import Utterance, read_manifest
from hemogat.errors import InputError
from hemogat.export.model_card import model_card
from hemogat.export.onnx_graphs import export_audio_encoder, export_fusion, export_text_encoder
from hemogat.export.parity import (
    ParityReport,
    Reference,
    ReferenceAnswers,
    compare,
    gate,
    reference_answers,
)
from hemogat.export_config import ExportConfig
from hemogat.files import folder_written_whole
from hemogat.model.bank import Bank, InductiveHead, freeze_bank
from hemogat.progress import Progress
from hemogat.runtime.bundle import (
    MANIFEST_FILE,
    BankFiles,
    BankIndex,
    Bundle,
    BundleManifest,
    Dims,
    ModelFile,
    Provenance,
    write_sums,
)
from hemogat.runtime.golden import GoldenFile, GoldenRecord
from hemogat.runtime.pipeline import Pipeline
from hemogat.training.evaluation import evaluate_run
from hemogat.training.preparation import PreparedRow, prepare_rows
from hemogat.training.run_directory import RunDirectory
from hemogat.versions import installed_versions

_PACKAGES = ("hemogat", "torch", "transformers", "onnx", "onnxscript", "onnxruntime", "numpy")
_GOLDEN_CASES = 4
_BANK_TENSORS = "bank/bank.safetensors"
_BANK_INDEX = "bank/rows.json"
_GOLDEN = "golden/golden.json"
_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class ExportReport:
    """What an export made."""

    bundle: Path
    parity: ParityReport


def export_run(
    run_path: Path, out: Path, config: ExportConfig, progress: Progress | None = None
) -> ExportReport:
    """Export the run's full head with its encoders and its bank.

    The gate compares on the run's test utterances, whose audio must still be where the run's
    manifest says. Writes ``out`` whole or not at all; a bundle that stands there is replaced.

    Raises:
        ParityError: the exported graphs do not answer as the reference; nothing is written.
        BundleError: ``run_path`` is not a run directory.
        InputError: the run was imported without encoders, the manifest has changed since, or
            ``out`` is something else.
        ConfigError: k is larger than the bank.
    """
    progress = progress or Progress()
    run = RunDirectory.open(run_path)
    _manifest_of(run)  # refuse before anything is computed
    recipe = run.record.recipe
    bank = freeze_bank(run.head(), run.features("train").embeddings, recipe.graph)
    reference = Reference(
        run.audio_encoder(),
        run.text_encoder(),
        InductiveHead(run.head(), bank, recipe.graph).eval(),
    )
    with folder_written_whole(out, replace_if_has=MANIFEST_FILE) as folder:
        parity = _fill(run, bank, reference, config, folder, progress)
    return ExportReport(out, parity)


def _fill(
    run: RunDirectory,
    bank: Bank,
    reference: Reference,
    config: ExportConfig,
    folder: Path,
    progress: Progress,
) -> ParityReport:
    recipe = run.record.recipe
    utterances = _test_utterances(run)
    rows = prepare_rows(utterances, recipe, run.tokenizer_path, progress)
    expected = reference_answers(reference, rows, recipe.audio.window_samples, progress)
    models = _export_graphs(run, reference, bank, config, folder, progress)
    shutil.copyfile(run.tokenizer_path, folder / _TOKENIZER)
    _write_bank(run, bank, folder)
    _write_golden(recipe, config, utterances, rows, expected, folder)
    manifest = _manifest(run, reference, bank, models)
    _write_json(folder / MANIFEST_FILE, manifest.model_dump(mode="json"))
    pipeline = Pipeline(Bundle(folder, manifest))
    parity = compare(pipeline, rows, expected, config.parity, progress)
    gate(parity)
    metrics = evaluate_run(run)
    _write_json(folder / "parity.json", parity.model_dump(mode="json"))
    _write_json(folder / "metrics.json", metrics.model_dump(mode="json"))
    (folder / "MODEL_CARD.md").write_text(model_card(manifest, parity, metrics), encoding="utf-8")
    write_sums(folder)
    return parity


def _manifest_of(run: RunDirectory) -> str:
    """Return where the run's utterances are listed; refuse a run that cannot be exported."""
    if run.record.recipe.graph.direction == "outgoing":
        raise InputError(
            f"{run.path}: was imported with messages outgoing, so that a new utterance would get "
            f"none; say --direction incoming at import"
        )
    if run.record.manifest is None:
        raise InputError(
            f"{run.path}: was imported from features alone and has no encoders to export; import "
            f"it with --audio-encoder, --text-encoder and --manifest"
        )
    return run.record.manifest


def _test_utterances(run: RunDirectory) -> tuple[Utterance, ...]:
    manifest = _manifest_of(run)
    utterances = read_manifest(manifest, run.record.recipe.labels).split("test")
    expected = [row.id for row in run.record.rows if row.split == "test"]
    if [u.id for u in utterances] != expected or not utterances:
        raise InputError(
            f"{manifest}: expected the {len(expected)} test utterances of the run, "
            f"found {len(utterances)}, not all of them the same; train again on this manifest"
        )
    return utterances


def _export_graphs(
    run: RunDirectory,
    reference: Reference,
    bank: Bank,
    config: ExportConfig,
    folder: Path,
    progress: Progress,
) -> tuple[ModelFile, ...]:
    target = f"{config.engine}-{config.precision}"
    with progress.stage("Export graphs", 3) as stage:
        paths = {}
        place = folder / "audio_encoder" / target
        paths["audio_encoder"] = export_audio_encoder(reference.audio_encoder, place, config.opset)
        stage.advance(note="audio encoder")
        place = folder / "text_encoder" / target
        paths["text_encoder"] = export_text_encoder(reference.text_encoder, place, config.opset)
        stage.advance(note="text encoder")
        place = folder / "fusion" / target
        graph = run.record.recipe.graph
        paths["fusion"] = export_fusion(run.head(), bank, graph, place, config.opset)
        stage.advance(note="fusion")
    return tuple(
        ModelFile.model_validate(
            {
                "graph": graph,
                "engine": config.engine,
                "precision": config.precision,
                "path": path.relative_to(folder).as_posix(),
            }
        )
        for graph, path in paths.items()
    )


def _write_bank(run: RunDirectory, bank: Bank, folder: Path) -> None:
    (folder / "bank").mkdir()
    e = bank.embeddings
    tensors = {"audio": e.audio, "text": e.text, "present": e.present} | {
        f"states_{layer}": states for layer, states in enumerate(bank.states)
    }
    save_file({k: t.contiguous() for k, t in tensors.items()}, folder / _BANK_TENSORS)
    labels = [row.label for row in run.record.rows if row.split == "train"]
    # Opaque ids: file names of training data may hold people's names.
    ids = [f"u{row:06d}" for row in range(len(labels))]
    index = BankIndex(ids=tuple(ids), labels=tuple(labels))
    _write_json(folder / _BANK_INDEX, index.model_dump(mode="json"))


def _write_golden(
    recipe: Recipe,
    config: ExportConfig,
    utterances: Sequence[Utterance],
    rows: Sequence[PreparedRow],
    expected: ReferenceAnswers,
    folder: Path,
) -> None:
    """Store a few test utterances, spread over the split, with the reference's answers."""
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
        label = recipe.labels[int(expected.probabilities[n].argmax())]
        records.append(
            GoldenRecord(
                audio=audio, text=utterances[n].text, label=label, probabilities=probabilities
            )
        )
    golden = GoldenFile(max_abs_diff=config.parity.max_abs_diff, cases=tuple(records))
    _write_json(folder / _GOLDEN, golden.model_dump(mode="json"))


def _manifest(
    run: RunDirectory, reference: Reference, bank: Bank, models: tuple[ModelFile, ...]
) -> BundleManifest:
    recipe = run.record.recipe
    return BundleManifest(
        name=recipe.name,
        labels=recipe.labels,
        audio=recipe.audio,
        text=recipe.text,
        graph=reference.head.graph,
        head=recipe.head,
        dims=Dims(audio=reference.audio_encoder.dim, text=reference.text_encoder.dim),
        bank=BankFiles(rows=len(bank.embeddings), tensors=_BANK_TENSORS, index=_BANK_INDEX),
        tokenizer=_TOKENIZER,
        golden=_GOLDEN,
        models=models,
        provenance=Provenance(
            created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            seed=recipe.seed,
            versions=installed_versions(_PACKAGES),
        ),
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
