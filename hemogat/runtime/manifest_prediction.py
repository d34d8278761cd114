"""Classifying every row of a CSV file into another CSV file, in process."""

from __future__ import annotations

from pathlib import Path

from hemogat.data.manifest import Row
from hemogat.errors import InputError
from hemogat.progress import Progress
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.prediction import Prediction
from hemogat.runtime.prediction_rows import (
    ManifestPredictions,
    SkippedRow,
    read_rows_to_predict,
    row_inputs,
    write_predictions,
)
from hemogat.runtime.preprocess import PreparedUtterance

_AT_ONCE = 16


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
    rows = read_rows_to_predict(manifest, out)
    answered: list[tuple[Row, Prediction]] = []
    skipped: list[SkippedRow] = []
    with (progress or Progress()).stage("Predict", len(rows)) as stage:
        for start in range(0, len(rows), _AT_ONCE):
            usable: list[tuple[Row, PreparedUtterance]] = []
            for row in rows[start : start + _AT_ONCE]:
                try:
                    audio, text, name = row_inputs(row, manifest, pipeline.labels)
                    usable.append((row, pipeline.preprocessor.prepare(audio, text, name=name)))
                except InputError as error:
                    if not skip_bad:
                        raise
                    skipped.append(SkippedRow(row.id, str(error)))
                stage.advance()
            predictions = pipeline.classify([utterance for _, utterance in usable])
            answered += zip((row for row, _ in usable), predictions, strict=True)
    return write_predictions(manifest, out, answered, skipped, pipeline.labels)
