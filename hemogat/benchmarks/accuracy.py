"""Accuracy of a bundle as it serves: from audio files and texts, through its own engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemogat.contract import MODALITIES
from hemogat.data.manifest import Split, Utterance, read_manifest
from hemogat.data.problems import all_problems
from hemogat.errors import InputError
from hemogat.progress import Progress
from hemogat.runtime.bundle import BundleManifest
from hemogat.runtime.fusion_inputs import Embedding
from hemogat.runtime.pipeline import Pipeline
from hemogat.training.evaluation_record import (
    Answers,
    Evaluation,
    Inputs,
    SplitAnswers,
    summarise_answers,
)
from hemogat.training.head_names import FULL
from hemogat.training.preparation import SkippedRow

_UTTERANCES_AT_ONCE = 16
_FEATURES = "the embeddings of audio and text, side by side"
_Embedded = tuple[Embedding | None, Embedding | None]  # audio, text


def evaluate_bundle(
    bundle: Path, manifest: Path, split: Split = "test", progress: Progress | None = None
) -> Evaluation:
    """Classify every utterance of ``split`` and compare with its label.

    Arguments and errors are those of :func:`answer_split_by_bundle`.
    """
    return summarise_answers(answer_split_by_bundle(bundle, manifest, split, progress))


def answer_split_by_bundle(
    bundle: Path,
    manifest: Path,
    split: Split = "test",
    progress: Progress | None = None,
    *,
    skip_bad: bool = False,
) -> SplitAnswers:
    """Ask a bundle about every utterance of ``split``, with each kind of input that it takes.

    ``skip_bad``: leave out and list utterances that cannot be used, rather than stop.

    Returns:
        Inductive answers alone: a bundle has one head, of one seed, and its bank.

    Raises:
        BundleError: the bundle cannot be used.
        ManifestError: the manifest cannot be used, or has labels that the bundle does not know.
        InputError: the split is empty, or an utterance cannot be used; carries all of those.
    """
    pipeline = Pipeline.load(bundle)
    facts = pipeline.bundle.manifest
    utterances = read_manifest(manifest, pipeline.labels).split(split)
    if not utterances:
        raise InputError(f"{manifest}: has no utterances in split {split!r}; name another one")
    embedded, skipped = _embed(pipeline, utterances, progress or Progress())
    if skipped and (not skip_bad or not embedded):
        reasons = [f"{row.id}: {row.reason}" for row in skipped]
        raise InputError(
            f"{all_problems(manifest, reasons)}; --skip-bad leaves such utterances out", reasons
        )
    left_out = {row.id for row in skipped}
    true = np.array([pipeline.labels.index(u.label) for u in utterances if u.id not in left_out])
    rows = []
    for inputs in _inputs_of(facts):
        asked = [_with_only(inputs, pair) for pair in embedded]
        there = np.array([a is not None or t is not None for a, t in asked])
        if there.any():
            pairs = [pair for pair, is_there in zip(asked, there, strict=True) if is_there]
            rows.append(_answers(pipeline, inputs, true[there], pairs))
    return SplitAnswers(
        name=facts.name,
        split=split,
        labels=pipeline.labels,
        seeds=(facts.provenance.seed,),
        best_seed=facts.provenance.seed,
        features=_FEATURES,
        rows=tuple(rows),
        skipped=tuple(skipped),
    )


def _embed(
    pipeline: Pipeline, utterances: Sequence[Utterance], progress: Progress
) -> tuple[list[_Embedded], list[SkippedRow]]:
    """Embed what can be used; return it, and what cannot."""
    embedded: list[_Embedded] = []
    skipped: list[SkippedRow] = []
    with progress.stage("Embed", len(utterances)) as bar:
        for start in range(0, len(utterances), _UTTERANCES_AT_ONCE):
            batch = utterances[start : start + _UTTERANCES_AT_ONCE]
            prepared = []
            for u in batch:
                try:
                    prepared.append(pipeline.preprocessor.prepare(u.audio, u.text, name=u.id))
                except InputError as error:
                    skipped.append(SkippedRow(id=u.id, reason=str(error), split=u.split))
            audio, text = pipeline.embed_audio(prepared), pipeline.embed_text(prepared)
            embedded += zip(audio, text, strict=True)
            bar.advance(len(batch))
    return embedded, skipped


def _answers(
    pipeline: Pipeline, inputs: Inputs, true: NDArray[np.int64], pairs: Sequence[_Embedded]
) -> Answers:
    probabilities = [
        pipeline.fuse(list(pairs[start : start + _UTTERANCES_AT_ONCE]))["probabilities"]
        for start in range(0, len(pairs), _UTTERANCES_AT_ONCE)
    ]
    return Answers(
        head=FULL,
        graph="inductive",
        inputs=inputs,
        true=true,
        probabilities=np.concatenate(probabilities)[np.newaxis],
        features=_side_by_side(pairs, pipeline.bundle.manifest),
        layer_cosine=np.zeros((1, 0)),
    )


def _inputs_of(facts: BundleManifest) -> tuple[Inputs, ...]:
    """Return what a bundle can be asked with, all that it reads first."""
    if len(facts.modalities) == 1:
        return facts.modalities
    return ("both", *facts.modalities) if facts.accepts_missing_modality else ("both",)


def _with_only(inputs: Inputs, pair: _Embedded) -> _Embedded:
    audio, text = (
        embedding if inputs in ("both", modality) else None
        for modality, embedding in zip(MODALITIES, pair, strict=True)
    )
    return audio, text


def _side_by_side(pairs: Sequence[_Embedded], facts: BundleManifest) -> NDArray[np.float32]:
    """Return [N, d_a + d_t], zeros where a modality is absent."""
    absent = np.zeros(facts.dims.audio, np.float32), np.zeros(facts.dims.text, np.float32)
    return np.stack(
        [
            np.concatenate([a if a is not None else absent[0], t if t is not None else absent[1]])
            for a, t in pairs
        ]
    )
