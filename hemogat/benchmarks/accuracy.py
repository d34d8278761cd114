"""Accuracy of a bundle as it serves: from audio files and texts, through its own engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hemogat.data.manifest import Split, read_manifest
from hemogat.errors import InputError
from hemogat.progress import Progress
from hemogat.runtime.pipeline import Pipeline
from hemogat.training.metrics import Evaluation, measure

_UTTERANCES_AT_ONCE = 16


def evaluate_bundle(
    bundle: Path, manifest: Path, split: Split = "test", progress: Progress | None = None
) -> Evaluation:
    """Classify every utterance of ``split`` and compare with its label.

    Returns:
        An evaluation whose only row is ``inductive``: a bundle has one head and its bank.

    Raises:
        BundleError: the bundle cannot be used.
        ManifestError: the manifest cannot be used, or has labels that the bundle does not know.
        InputError: the split is empty, or an utterance cannot be used.
    """
    pipeline = Pipeline.load(bundle)
    labels = pipeline.labels
    utterances = read_manifest(manifest, labels).split(split)
    if not utterances:
        raise InputError(f"{manifest}: has no utterances in split {split!r}; name another one")
    predicted: list[str] = []
    with (progress or Progress()).stage("Classify", len(utterances)) as bar:
        for start in range(0, len(utterances), _UTTERANCES_AT_ONCE):
            batch = utterances[start : start + _UTTERANCES_AT_ONCE]
            prepared = [pipeline.preprocessor.prepare(u.audio, u.text, name=u.id) for u in batch]
            predicted += [prediction.label for prediction in pipeline.classify(prepared)]
            bar.advance(len(batch))
    metrics = measure(
        [labels.index(utterance.label) for utterance in utterances],
        np.array([labels.index(label) for label in predicted]),
        len(labels),
    )
    return Evaluation(split=split, labels=labels, graphs={"inductive": metrics}, controls={})
