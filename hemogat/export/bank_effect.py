"""What a changed bank does to answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hemogat.data.manifest import read_manifest
from hemogat.errors import InputError
from hemogat.export.bank_update import fp32_first
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.pipeline import Pipeline

_AT_ONCE = 32


@dataclass(frozen=True)
class BankEffect:
    """Accuracy and unweighted accuracy (mean recall) before and after, as shares."""

    utterances: int
    accuracy: tuple[float, float]
    unweighted_accuracy: tuple[float, float]
    changed_decisions: int


def bank_effect(old: Bundle, new: Bundle, manifest: Path) -> BankEffect:
    """Classify the manifest's utterances outside its train split with both bundles.

    Raises:
        InputError: the manifest has other labels, or nothing but its train split.
    """
    labels = old.manifest.labels
    rows = [u for u in read_manifest(manifest, labels).utterances if u.split != "train"]
    if not rows:
        raise InputError(f"{manifest}: expected utterances outside the train split, found none")
    engine, precision = fp32_first(new)
    pipelines = [Pipeline(b, engine=engine, precision=precision) for b in (old, new)]
    answers: tuple[list[str], list[str]] = ([], [])
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        prepare = pipelines[0].preprocessor.prepare
        ready = [prepare(u.audio, u.text, name=f"{manifest}: {u.id}") for u in part]
        for pipeline, collected in zip(pipelines, answers, strict=True):
            collected += [prediction.label for prediction in pipeline.classify(ready)]
    truth = np.array([u.label for u in rows])
    before, after = (np.array(each) == truth for each in answers)
    present = np.unique(truth)

    def mean_recall(right: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
        return float(np.mean([right[truth == label].mean() for label in present]))

    return BankEffect(
        len(rows),
        (float(before.mean()), float(after.mean())),
        (mean_recall(before), mean_recall(after)),
        sum(a != b for a, b in zip(*answers, strict=True)),
    )
