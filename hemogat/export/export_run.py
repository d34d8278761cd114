"""From a run directory to a bundle, through the parity gate."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from hemogat.data.manifest import Utterance
from hemogat.errors import ParityError
from hemogat.export.accuracy_aware import Judge, encoder_judges, utterances_to_rank_on
from hemogat.export.bank_index import check_neighbours
from hemogat.export.bundle_files import (
    GOLDEN,
    carry_over,
    check_bank_unchanged,
    keep_golden,
    run_sha256,
    write_bank_index,
    write_golden,
    write_json,
)
from hemogat.export.calibration import calibration_feeds
from hemogat.export.gating import (
    Candidate,
    Judged,
    check_audio,
    judge,
    manifest_of,
    runs_in_place,
    utterances_to_judge,
)
from hemogat.export.model_card import model_card
from hemogat.export.parity import Reference, ReferenceAnswers, reference_answers
from hemogat.export.parity_gate import RefusedError, gate
from hemogat.export.targets import (
    Calibration,
    Source,
    build_plans,
    check_converters,
    is_accuracy_aware,
    target_name,
    write_bank_graphs,
    write_models,
)
from hemogat.export.tensorrt_script import SCRIPT_FILE, NoPlanError
from hemogat.export_config import ExportConfig
from hemogat.files import folder_written_whole, write_atomic
from hemogat.model.bank import InductiveHead, freeze_bank
from hemogat.optional import require
from hemogat.progress import Progress
from hemogat.runtime.bundle import (
    MANIFEST_FILE,
    BankFiles,
    Bundle,
    BundleManifest,
    Dims,
    GraphName,
    ModelFile,
    Provenance,
    write_sums,
)
from hemogat.runtime.parity_report import PARITY_FILE, ParityFile, ParityReport, read_parity
from hemogat.training.evaluation import evaluate_run
from hemogat.training.head_names import FULL
from hemogat.training.preparation import PreparedRow, prepare_rows
from hemogat.training.run_directory import RunDirectory
from hemogat.versions import installed_versions

_PACKAGES = ("hemogat", "torch", "transformers", "onnx", "onnxscript", "onnxruntime", "numpy")
_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class ExportReport:
    """What an export made."""

    bundle: Path
    target: str  # onnx-int8
    parity: ParityReport


def export_run(
    run_path: Path,
    out: Path,
    config: ExportConfig,
    progress: Progress | None = None,
    *,
    inputs: Path | None = None,
    manifest: Path | None = None,
) -> ExportReport:
    """Export the run's full head with its encoders and its bank, for one engine and precision.

    Of a run with random weights numbers are reported and nothing is judged.

    The bundle at ``out`` is written whole or not at all. If one of the same run stands there, its
    other engines stay; one of another run is replaced, but none whose bank was changed. The gate
    compares on utterances that nothing was trained on
    (:func:`hemogat.export.gating.utterances_to_judge`), whose audio must be where the run's
    manifest says.

    Args:
        run_path: the run directory.
        out: the bundle.
        config: engine, precision, limits.
        progress: shows the stages.
        inputs: a manifest of the run's labels to compare on instead.
        manifest: where the run's manifest is now; None: where it was at the training.

    Raises:
        RefusedError: the exported graphs do not answer as the reference; nothing is written but
            the report, to ``<out>.parity.json``.
        IncompleteError: something is not installed; for ``engine: trt`` also after the typed ONNX
            graphs and the script that builds plans were written, as no plan could be built here.
        BundleError: ``run_path`` is not a run directory, or the bundle at ``out`` is damaged.
        InputError: the run was imported without encoders, the manifest has changed since, audio is
            gone, an index is asked for without neighbours, or ``out`` must not be replaced.
        ConfigError: k is larger than the bank.
    """
    check_converters(config)
    check_bank_unchanged(out)
    run = RunDirectory.open(run_path)
    listed = manifest_of(run, manifest)  # refuse before anything is computed
    if config.ivf_index:
        record = run.record
        check_neighbours(record.recipe.graph.used_by(record.heads[FULL]), run.path)
        require("faiss", extra="search")
    judged = utterances_to_judge(run, listed, inputs)
    training = listed.split("train") if config.is_int8 else ()
    ranked = utterances_to_rank_on(listed, judged.utterances) if is_accuracy_aware(config) else ()
    check_audio((*judged.utterances, *training, *ranked))
    export = _Export(run, out, config, progress or Progress(), judged, training, ranked)
    with folder_written_whole(out, replace_if_has=MANIFEST_FILE) as folder:
        parity, missing = _fill(export, folder)
        write_sums(folder)
    if missing:
        raise NoPlanError(out / SCRIPT_FILE, missing, parity)
    return ExportReport(out, export.target, parity)


@dataclass(frozen=True)
class _Export:
    """What the steps of one export share."""

    run: RunDirectory
    out: Path
    config: ExportConfig
    progress: Progress
    judged: Judged  # compared on; the golden cases are among them
    training: tuple[Utterance, ...]  # calibrated on
    ranked: tuple[Utterance, ...]  # what accuracy-aware quantisation asks its candidates

    @property
    def target(self) -> str:
        return target_name(self.config.engine, self.config.precision)

    def calibration(self) -> Calibration:
        count = self.config.calibration_utterances
        return calibration_feeds(self.run, self.training, count, self.progress)

    def answers(
        self, reference: Reference, utterances: tuple[Utterance, ...]
    ) -> tuple[list[PreparedRow], ReferenceAnswers]:
        recipe = self.run.record.recipe
        rows = prepare_rows(utterances, recipe, self.run.tokenizer_path, self.progress)
        return rows, reference_answers(reference, rows, recipe.audio.window_samples, self.progress)

    def judges(self, reference: Reference) -> dict[GraphName, Judge]:
        if self.run.record.random_weights:
            return {}
        rows, expected = self.answers(reference, self.ranked)
        window_samples = self.run.record.recipe.audio.window_samples
        return encoder_judges(reference, rows, expected, window_samples)


def _fill(export: _Export, folder: Path) -> tuple[ParityReport, tuple[str, ...]]:
    """Fill the bundle; return what the gate found, and what is missing to build plans."""
    run, config, progress = export.run, export.config, export.progress
    recipe = run.record.recipe
    train = run.features("train")
    bank = freeze_bank(run.head(), train.embeddings, recipe.graph, labels=train.labels)
    head = InductiveHead(run.head(), bank, recipe.graph).eval()
    reads = recipe.head.reads
    reference = Reference(
        run.audio_encoder() if "audio" in reads else None,
        run.text_encoder() if "text" in reads else None,
        head,
    )
    rows, expected = export.answers(reference, export.judged.utterances)
    run_hash = run_sha256(run)
    earlier = carry_over(export.out, folder, run_hash, export.target)
    source = Source(
        *(reference, run.head(), bank, recipe.graph, export.calibration),
        judges=lambda: export.judges(reference),
    )
    written = write_models(source, config, folder, progress)
    graphs = paths = written.paths
    write_bank_graphs(source, config, folder)
    missing: tuple[str, ...] = ()
    if config.engine == "trt":
        paths, missing = build_plans(paths, folder, config, recipe.text.token_buckets)
    if reference.text_encoder is not None:
        shutil.copyfile(run.tokenizer_path, folder / _TOKENIZER)
    if earlier is None:
        write_golden(recipe.labels, config.limits, export.judged.utterances, rows, expected, folder)
    else:
        keep_golden(earlier, folder)
    kept = () if earlier is None else _others(earlier, export.target)
    models = (*kept, *_models(config, paths, folder))
    files = write_bank_index(run, head.graph, folder, earlier, ivf=config.ivf_index)
    manifest = _bundle_manifest(run, reference, models, run_hash, files)
    write_json(folder / MANIFEST_FILE, manifest.model_dump(mode="json"))
    candidate = Candidate(
        *(Bundle(folder, manifest), config, reference, rows, expected, graphs),
        source=export.judged.source,
        stand_in=runs_in_place(config, built=bool(paths)),
    )
    parity = _judge(export, candidate, written.restored)
    _write_reports(export, candidate.bundle, earlier, parity)
    return parity, missing


def _judge(
    export: _Export, candidate: Candidate, restored: dict[GraphName, tuple[str, ...]]
) -> ParityReport:
    """Compare and gate; on failure leave the report beside the bundle."""
    parity = judge(candidate, export.progress, random_weights=export.run.record.random_weights)
    parity = parity.model_copy(update={"restored": restored})
    if parity.ungated is None:
        beside = export.out.with_name(f"{export.out.name}.{PARITY_FILE}")
        try:
            gate(parity)
        except ParityError as error:
            reports = ParityFile(reports={export.target: parity})
            write_atomic(beside, reports.model_dump_json(indent=1) + "\n")
            message = (
                f"{export.target}: {error}; no engine was written, the whole report is in {beside}"
            )
            raise RefusedError(message, parity) from error
        beside.unlink(missing_ok=True)
    return parity


def _write_reports(
    export: _Export, bundle: Bundle, earlier: Bundle | None, parity: ParityReport
) -> None:
    """Write what is known of every engine, and how well the head recognises."""
    reports = dict(read_parity(earlier).reports) if earlier is not None else {}
    reports[export.target] = parity
    found = ParityFile(reports=reports)
    write_json(bundle.path / PARITY_FILE, found.model_dump(mode="json"))
    metrics = evaluate_run(export.run)
    write_json(bundle.path / "metrics.json", metrics.model_dump(mode="json"))
    card = model_card(bundle.manifest, found, metrics)
    (bundle.path / "MODEL_CARD.md").write_text(card, encoding="utf-8")


def _others(earlier: Bundle, target: str) -> tuple[ModelFile, ...]:
    """Return the models of an earlier bundle that are not exported anew."""
    models = earlier.manifest.models
    return tuple(m for m in models if target_name(m.engine, m.precision) != target)


def _models(
    config: ExportConfig, paths: dict[GraphName, Path], folder: Path
) -> tuple[ModelFile, ...]:
    return tuple(
        ModelFile(
            graph=graph,
            engine=config.engine,
            precision=config.precision,
            path=path.relative_to(folder).as_posix(),
        )
        for graph, path in paths.items()
    )


def _bundle_manifest(
    run: RunDirectory,
    reference: Reference,
    models: tuple[ModelFile, ...],
    run_hash: str,
    bank: BankFiles,
) -> BundleManifest:
    recipe, stored = run.record.recipe, run.features("train").embeddings
    return BundleManifest(
        name=recipe.name,
        labels=recipe.labels,
        audio=recipe.audio,
        text=recipe.text,
        graph=reference.head.graph,
        head=recipe.head,
        dims=Dims(audio=stored.audio.shape[1], text=stored.text.shape[1]),
        bank=bank,
        tokenizer=None if reference.text_encoder is None else _TOKENIZER,
        golden=GOLDEN,
        models=models,
        provenance=Provenance(
            created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            seed=run.record.best_seed,
            versions=installed_versions(_PACKAGES),
            run_sha256=run_hash,
        ),
    )
