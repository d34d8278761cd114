"""What an exported bundle is judged on, and how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hemogat.contract import BF16_PRECISIONS
from hemogat.data.manifest import SPLITS, Manifest, Utterance, read_manifest
from hemogat.errors import IncompleteError, InputError
from hemogat.export.bundle_files import add_own_answers
from hemogat.export.parity import Reference, ReferenceAnswers, compare
from hemogat.export.search_parity import compare_searches
from hemogat.export.speed import component_latency, load_per_core
from hemogat.export.stand_in import stand_in
from hemogat.export.targets import target_name
from hemogat.export_config import ExportConfig
from hemogat.progress import Progress
from hemogat.runtime.bundle import Bundle, GraphName
from hemogat.runtime.onnx_session import automatic_device
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
    graphs: Mapping[GraphName, Path]  # the engine's own, or those that it is built from
    source: str  # of the rows
    stand_in: str | None = None  # what is compared in place of the engine


def manifest_of(run: RunDirectory, moved: Path | None = None) -> Manifest:
    """Read the manifest that lists the run's utterances.

    Args:
        run: the run.
        moved: where it is now; None: where it was at the training.

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
    path = Path(run.record.manifest) if moved is None else moved
    if not path.exists():
        raise InputError(
            f"{path}: expected the manifest that {run.path} was trained on, found no file; name "
            f"where it and its audio are now with --manifest"
        )
    manifest = read_manifest(path, run.record.recipe.labels, to_train=False)
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


@dataclass(frozen=True)
class Judged:
    """The utterances that an export is compared on, and where they come from."""

    utterances: tuple[Utterance, ...]
    source: str


def utterances_to_judge(run: RunDirectory, manifest: Manifest, inputs: Path | None) -> Judged:
    """Return what to compare on: ``inputs``, or utterances that nothing was trained on.

    These are the validation split if it is large enough to speak of rates, else the test split if
    that is, else both.

    Raises:
        InputError: ``inputs`` is no manifest of the run's labels.
    """
    if inputs is not None:
        given = read_manifest(inputs, run.record.recipe.labels, to_train=False)
        return Judged(given.utterances, "the utterances given")
    val, test = manifest.split("val"), manifest.split("test")
    for split, name in ((val, "val"), (test, "test")):
        if len(split) >= ENOUGH_FOR_RATES:
            return Judged(split, f"the {name} split")
    return Judged((*val, *test), "the val and test splits")


def check_audio(utterances: Iterable[Utterance]) -> None:
    """Make sure that all audio is there, before anything is computed.

    Raises:
        InputError: naming the first file that is not.
    """
    for utterance in utterances:
        if utterance.audio is not None and not utterance.audio.is_file():
            raise InputError(
                f"{utterance.audio}: expected the audio of {utterance.id} where the manifest says, "
                f"found no file; export compares on real audio: put it back, name where the run's "
                f"manifest is now with --manifest, or another to compare on with --inputs (int8 "
                f"needs the run's training audio all the same)"
            )


def judge(candidate: Candidate, progress: Progress, *, random_weights: bool) -> ParityReport:
    """Compare the candidate with the reference; its limits are for the caller to hold it to.

    Below fp32 its own answers to the golden cases are added to the bundle. An engine that cannot
    run on this machine is compared by its own graphs where they can run in its place.

    Raises:
        IncompleteError: the engine is not installed, cannot use the device that was asked for, or
            cannot be compared on this machine at all, which the configuration does not allow.
    """
    config, bundle = candidate.config, candidate.bundle
    if candidate.stand_in is None:
        try:
            pipeline = Pipeline(
                bundle, engine=config.engine, precision=config.precision, device=config.device
            )
        except IncompleteError as error:
            if config.engine != "openvino" or config.precision not in BF16_PRECISIONS:
                raise
            return _not_judged(candidate, error)
        return _compared(candidate, pipeline, progress, random_weights=random_weights)
    with stand_in(bundle, candidate.graphs, config.precision) as emulated:
        pipeline = Pipeline(emulated, engine="onnx", precision=config.precision, device="cpu")
        report = _compared(candidate, pipeline, progress, random_weights=random_weights)
    return report.model_copy(update={"stand_in": candidate.stand_in})


def _compared(
    candidate: Candidate, pipeline: Pipeline, progress: Progress, *, random_weights: bool
) -> ParityReport:
    config = candidate.config
    report = compare(pipeline, candidate.rows, candidate.expected, config.limits, progress)
    found: dict[str, Any] = {
        "source": candidate.source,
        "ungated": "the weights are random" if random_weights else None,
    }
    if candidate.stand_in is None:
        with progress.stage("Search outside and time"):
            found["searches"] = tuple(compare_searches(pipeline, candidate.expected.embeddings))
            found["latency"] = component_latency(
                pipeline, candidate.reference, candidate.rows, candidate.expected
            )
            found["load"] = load_per_core()
    if config.precision != "fp32":
        add_own_answers(pipeline, target_name(config.engine, config.precision))
    return report.model_copy(update=found)


def _not_judged(candidate: Candidate, error: IncompleteError) -> ParityReport:
    """Report an engine that cannot run here, if that is allowed."""
    config = candidate.config
    target = target_name(config.engine, config.precision)
    if not config.allow_unjudged:
        raise IncompleteError(
            f"{target} cannot be compared on this machine, so it is not handed out: {error}; "
            f"export it on a machine that runs it, or say --allow-unjudged"
        ) from error
    # The bundle is still in a folder of its own, which is soon gone.
    return nothing_judged(config, str(error).replace(f"{candidate.bundle.path}/", ""))


def nothing_judged(config: ExportConfig, reason: str) -> ParityReport:
    """Return the report of an engine that could not be run here."""
    return ParityReport(
        utterances=0, enough_for_rates=False, limits=config.limits, rows=(), ungated=reason
    )


def runs_in_place(config: ExportConfig, *, built: bool) -> str | None:
    """Say what is compared in place of the engine on this machine; None if it runs itself.

    ``built``: whether the files of the engine are there, which TensorRT's plans may not be.
    """
    if config.engine == "trt" and not built:
        return f"the typed graphs, in ONNX Runtime on the CPU with {config.precision} emulated"
    if (config.engine, config.precision) != ("onnx", "bf16"):
        return None
    device = automatic_device() if config.device == "auto" else config.device
    if device in (None, "cpu"):
        return "the graphs with bf16 emulated, as ONNX Runtime has no bf16 operators for the CPU"
    return None
