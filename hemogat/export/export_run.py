"""From a run directory to a bundle, through the parity gate."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from hemogat.data.manifest import SPLITS, Manifest, Utterance, read_manifest
from hemogat.errors import InputError, ParityError
from hemogat.export.bundle_files import (
    GOLDEN,
    add_own_answers,
    carry_over,
    keep_golden,
    run_sha256,
    write_bank_index,
    write_golden,
    write_json,
)
from hemogat.export.calibration import calibration_feeds
from hemogat.export.gating import Judged, judge
from hemogat.export.model_card import model_card
from hemogat.export.parity import Reference, reference_answers
from hemogat.export.targets import Source, target_name, write_models
from hemogat.export.tensorrt_target import finish_plans
from hemogat.export_config import ExportConfig
from hemogat.files import folder_written_whole, write_atomic
from hemogat.model.bank import InductiveHead, freeze_bank
from hemogat.progress import Progress
from hemogat.runtime.bundle import (
    MANIFEST_FILE,
    Bundle,
    BundleManifest,
    Dims,
    GraphName,
    ModelFile,
    Provenance,
    write_sums,
)
from hemogat.runtime.parity_report import (
    ENOUGH_FOR_RATES,
    PARITY_FILE,
    ParityFile,
    ParityReport,
    read_parity,
)
from hemogat.training.evaluation import evaluate_run
from hemogat.training.preparation import prepare_rows
from hemogat.training.run_directory import RunDirectory
from hemogat.versions import installed_versions


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
    random_weights: bool = False,
) -> ExportReport:
    """Export the run's full head with its encoders and its bank, for one engine and precision.

    The bundle at ``out`` is written whole or not at all. If one of the same run stands there, its
    other engines stay; one of another run is replaced. The gate compares on the test split, on all
    splits if that has fewer than 500 utterances; their audio must still be where the run's
    manifest says.

    Args:
        run_path: the run directory.
        out: the bundle.
        config: engine, precision, limits.
        progress: shows the stages.
        inputs: a manifest of the run's labels to compare on instead.
        random_weights: the run was not trained: numbers are reported, nothing is judged.

    Raises:
        ParityError: the exported graphs do not answer as the reference; nothing is written but
            the report, to ``<out>.parity.json``.
        IncompleteError: something is not installed; for ``engine: trt`` also after the typed ONNX
            graphs and the script that builds plans were written, as no plan could be built here.
        BundleError: ``run_path`` is not a run directory, or the bundle at ``out`` is damaged.
        InputError: the run was imported without encoders, the manifest has changed since, audio is
            gone, or ``out`` is something else.
        ConfigError: k is larger than the bank, or the engine has no such precision.
    """
    run = RunDirectory.open(run_path)
    manifest = _manifest_of(run)  # refuse before anything is computed
    if inputs is None:
        judged = _judged_utterances(manifest)
    else:
        judged = read_manifest(inputs, run.record.recipe.labels).utterances
    training = manifest.split("train") if config.precision == "int8" else ()
    _check_audio([*judged, *training], inputs or manifest.path)
    export = _Export(
        run, out, config, progress or Progress(), tuple(judged), training, random_weights
    )
    with folder_written_whole(out, replace_if_has=MANIFEST_FILE) as folder:
        parity, missing = _fill(export, folder)
        write_sums(folder)
    if missing:
        raise no_plan_error(out / SCRIPT_FILE, missing)
    return ExportReport(out, export.target, parity)


@dataclass(frozen=True)
class _Export:
    """What the steps of one export share."""

    run: RunDirectory
    out: Path
    config: ExportConfig
    progress: Progress
    judged: tuple[Utterance, ...]  # compared on, and the golden cases come from them
    training: tuple[Utterance, ...]  # calibrated on
    random_weights: bool

    @property
    def target(self) -> str:
        return target_name(self.config.engine, self.config.precision)


def _fill(export: _Export, folder: Path) -> tuple[ParityReport, tuple[str, ...]]:
    """Fill the bundle; return what the gate found, and what is missing to build plans."""
    run, config, progress = export.run, export.config, export.progress
    recipe = run.record.recipe
    reference, bank = _reference(run)
    rows = prepare_rows(export.judged, recipe, run.tokenizer_path, progress)
    expected = reference_answers(reference, rows, recipe.audio.window_samples, progress)

    def calibration() -> Calibration:
        return calibration_feeds(run, export.training, config.calibration_utterances, progress)

    run_hash = run_sha256(run)
    earlier = carry_over(export.out, folder, run_hash, export.target)
    source = Source(reference, run.head(), bank, recipe.graph, calibration)
    paths = write_models(source, config, folder, progress)
    missing: tuple[str, ...] = ()
    if config.engine == "trt":
        paths, missing = build_plans(paths, folder, config, recipe.text.token_buckets)
    shutil.copyfile(run.tokenizer_path, folder / _TOKENIZER)
    if earlier is None:
        write_golden(recipe.labels, config.limits, export.judged, rows, expected, folder)
    else:
        keep_golden(earlier, folder)
    bundle = Bundle(folder, _bundle_manifest(export, reference, bank, run_hash, folder))
    models = _models(config, paths, folder) if not missing else ()
    others = earlier.manifest.models if earlier is not None else ()
    kept = tuple(m for m in others if target_name(m.engine, m.precision) != export.target)
    bundle = Bundle(folder, bundle.manifest.model_copy(update={"models": (*kept, *models)}))
    write_json(folder / MANIFEST_FILE, bundle.manifest.model_dump(mode="json"))
    parity = _judge(export, bundle, reference, rows, expected, missing)
    _write_reports(export, bundle, earlier, parity)
    return parity, missing
