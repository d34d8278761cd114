"""What an exported bundle is judged on, and how."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hemogat.data.manifest import SPLITS, Manifest, Utterance, read_manifest
from hemogat.errors import IncompleteError, InputError
from hemogat.export.bundle_files import add_own_answers
from hemogat.export.parity import Reference, ReferenceAnswers, compare
from hemogat.export.search_parity import compare_searches
from hemogat.export.speed import component_latency
from hemogat.export.targets import target_name
from hemogat.export_config import ExportConfig
from hemogat.machine import find_gpus
from hemogat.progress import Progress
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.parity_report import ENOUGH_FOR_RATES, ParityReport
from hemogat.runtime.pipeline import Pipeline
from hemogat.training.preparation import PreparedRow, without_skipped
from hemogat.training.run_directory import RunDirectory


@dataclass(frozen=True)
class Candidate:
    """A bundle that has the engine to judge, and what it is compared with."""

    bundle: Bundle
    config: ExportConfig
    reference: Reference
    rows: Sequence[PreparedRow]
    expected: ReferenceAnswers


def manifest_of(run: RunDirectory) -> Manifest:
    """Read the manifest that lists the run's utterances.

    Raises:
        InputError: the run cannot be exported, or its manifest is gone or has changed since.
    """
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
    manifest = read_manifest(run.record.manifest, run.record.recipe.labels)
    manifest = without_skipped(manifest, run.record.skipped)
    for split in SPLITS:
        expected = [row.id for row in run.record.rows if row.split == split]
        found = [utterance.id for utterance in manifest.split(split)]
        if found != expected:
            raise InputError(
                f"{manifest.path}: expected the {len(expected)} {split} utterances of the run, "
                f"found {len(found)}, not all of them the same; train again on this manifest"
            )
    return manifest


def utterances_to_judge(
    run: RunDirectory, manifest: Manifest, inputs: Path | None
) -> tuple[Utterance, ...]:
    """Return what to compare on: ``inputs``, the test split, or where that is small all splits.

    Raises:
        InputError: ``inputs`` is no manifest of the run's labels.
    """
    if inputs is not None:
        return read_manifest(inputs, run.record.recipe.labels, to_train=False).utterances
    test = manifest.split("test")
    if len(test) >= ENOUGH_FOR_RATES:
        return test
    return (*test, *manifest.split("val"), *manifest.split("train"))


def check_audio(utterances: Iterable[Utterance]) -> None:
    """Make sure that all audio is there, before anything is computed.

    Raises:
        InputError: naming the first file that is not.
    """
    for utterance in utterances:
        if utterance.audio is not None and not utterance.audio.is_file():
            raise InputError(
                f"{utterance.audio}: expected the audio of {utterance.id} where the manifest says, "
                f"found no file; export compares on real audio: put it back, or name another "
                f"manifest with --inputs (int8 needs the run's training audio all the same)"
            )


def judge(candidate: Candidate, progress: Progress, *, random_weights: bool) -> ParityReport:
    """Compare the candidate with the reference; its limits are for the caller to hold it to.

    Below fp32 its own answers to the golden cases are added to the bundle. An engine in a precision
    that this machine's processor lacks is reported as not judged.

    Raises:
        IncompleteError: the engine is not installed, or cannot use the device that was asked for.
    """
    config = candidate.config
    reason = _cannot_run(config)
    if reason is not None:
        return nothing_judged(config, reason)
    try:
        pipeline = Pipeline(
            candidate.bundle,
            engine=config.engine,
            precision=config.precision,
            device=config.device,
        )
    except IncompleteError:
        if (config.engine, config.precision) != ("openvino", "bf16"):
            raise
        return nothing_judged(config, "this CPU has no bf16; export on one that has to judge it")
    report = compare(pipeline, candidate.rows, candidate.expected, config.limits, progress)
    latency = component_latency(pipeline, candidate.reference, candidate.rows, candidate.expected)
    if config.precision != "fp32":
        add_own_answers(pipeline, target_name(config.engine, config.precision))
    found = {
        "searches": tuple(compare_searches(pipeline, candidate.expected.embeddings)),
        "latency": latency,
        "ungated": "the weights are random" if random_weights else None,
    }
    return report.model_copy(update=found)


def nothing_judged(config: ExportConfig, reason: str) -> ParityReport:
    """Return the report of an engine that could not be run here."""
    return ParityReport(
        utterances=0, enough_for_rates=False, limits=config.limits, rows=(), ungated=reason
    )


def _cannot_run(config: ExportConfig) -> str | None:
    on_cpu = config.device == "cpu" or (config.device == "auto" and not find_gpus())
    if config.engine == "onnx" and config.precision == "bf16" and on_cpu:
        return (
            "ONNX Runtime has no bf16 operators for the CPU; export with --device cuda to judge it"
        )
    return None
