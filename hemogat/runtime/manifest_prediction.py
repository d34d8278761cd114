"""Classifying every row of a CSV file into another CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hemogat.data.manifest import Row, audio_path, input_problems, read_rows
from hemogat.errors import InputError
from hemogat.files import write_atomic
from hemogat.progress import Progress
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.prediction import Prediction
from hemogat.runtime.preprocess import PreparedUtterance

ALL_ROWS = "all"  # what rows count as where the file has no splits
_AT_ONCE = 16


@dataclass(frozen=True)
class SkippedRow:
    """A row that could not be used, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Score:
    """How many labelled rows were classified, and how many of them as labelled."""

    utterances: int
    correct: int

    @property
    def accuracy(self) -> float:
        """The share that was classified as labelled."""
        return self.correct / self.utterances


@dataclass(frozen=True)
class ManifestPredictions:
    """What came of one file.

    ``scores``: by split, because a bundle knows its own training rows; :data:`ALL_ROWS` where
    the file has no splits; empty where it has no labels.
    """

    out: Path
    predicted: int
    skipped: tuple[SkippedRow, ...]
    scores: dict[str, Score]


def predict_manifest(
    pipeline: Pipeline,
    manifest: Path,
    out: Path,
    *,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> ManifestPredictions:
    """Classify every row of ``manifest`` and write ``out``, whole or not at all.

    ``manifest`` is a CSV file with a column audio (paths absolute, or relative to its folder), a
    column text, or both; id, label and split are used where they are there. ``out`` gets the
    columns id, label, one ``p_<label>`` for each label of the bundle, and modalities.

    Args:
        pipeline: what classifies.
        manifest: the CSV file to read.
        out: the CSV file to write; an earlier one is replaced.
        skip_bad: leave rows out that cannot be used, and list them, instead of stopping.
        progress: draws a bar.

    Raises:
        InputError: a file or, unless they are skipped, a row cannot be used; names the row.
    """
    _check_out(out, manifest)
    rows = _read(manifest)
    answered: list[tuple[Row, Prediction]] = []
    skipped: list[SkippedRow] = []
    with (progress or Progress()).stage("Predict", len(rows)) as stage:
        for start in range(0, len(rows), _AT_ONCE):
            usable: list[tuple[Row, PreparedUtterance]] = []
            for row in rows[start : start + _AT_ONCE]:
                try:
                    usable.append((row, _prepare(pipeline, row, manifest)))
                except InputError as error:
                    if not skip_bad:
                        raise
                    skipped.append(SkippedRow(row.id, str(error)))
                stage.advance()
            predictions = pipeline.classify([utterance for _, utterance in usable])
            answered += zip((row for row, _ in usable), predictions, strict=True)
    if not answered:
        raise InputError(
            f"{manifest}: none of its rows can be used; the first: {skipped[0].reason}"
        )
    write_atomic(out, _to_csv(answered, pipeline.labels))
    return ManifestPredictions(out, len(answered), tuple(skipped), _scores(answered))


def _check_out(out: Path, manifest: Path) -> None:
    if out.is_dir():
        raise InputError(f"{out}: is a folder; expected the name of a CSV file to write")
    if out.resolve() == manifest.resolve():
        raise InputError(f"{out}: is the manifest itself; name another file to write")
    out.parent.mkdir(parents=True, exist_ok=True)


def _read(manifest: Path) -> list[Row]:
    rows = read_rows(manifest, ())
    if not rows:
        raise InputError(f"{manifest}: holds no rows to predict")
    header = rows[0].cells
    if "audio" not in header and "text" not in header:
        raise InputError(
            f"{manifest}: expected a column 'audio' or 'text', found {','.join(header)!r}"
        )
    row_by_id: dict[str, int] = {}
    for row in rows:
        first = row_by_id.setdefault(row.id, row.number)
        if first != row.number:  # nobody could tell their answers apart
            raise InputError(
                f"{manifest}: row {row.number}: id {row.id!r} is already that of row {first}"
            )
    return rows


def _prepare(pipeline: Pipeline, row: Row, manifest: Path) -> PreparedUtterance:
    problem = next(_problems(row, manifest.parent, pipeline.labels), None)
    if problem:
        raise InputError(f"{manifest}: row {row.number}: {problem}")
    audio, text = row.cells.get("audio"), row.cells.get("text")
    return pipeline.preprocessor.prepare(
        audio_path(audio, manifest.parent) if audio else None,
        text or None,
        name=f"{manifest}: row {row.number} ({row.id})",
    )


def _problems(row: Row, folder: Path, labels: Sequence[str]) -> Iterator[str]:
    yield from input_problems(row, folder)
    label = row.cells.get("label")
    if label and label not in labels:
        # Counted as wrong, another spelling of the labels would read as a bad model.
        yield f"label {label!r} is unknown; expected one of {', '.join(labels)}, or no label"


def _to_csv(answered: Sequence[tuple[Row, Prediction]], labels: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "label", *(f"p_{label}" for label in labels), "modalities"))
    for row, prediction in answered:
        probabilities = (f"{prediction.probabilities[label]:.6f}" for label in labels)
        modalities = ",".join(prediction.modalities)
        writer.writerow((row.id, prediction.label, *probabilities, modalities))
    return text.getvalue()


def _scores(answered: Sequence[tuple[Row, Prediction]]) -> dict[str, Score]:
    correct: dict[str, list[bool]] = {}
    for row, prediction in answered:
        label = row.cells.get("label")
        if label:
            split = row.cells.get("split") or ALL_ROWS
            correct.setdefault(split, []).append(label == prediction.label)
    return {split: Score(len(hits), sum(hits)) for split, hits in correct.items()}
