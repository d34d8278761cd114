"""The rows of a CSV file to classify, and the CSV file of answers: in process and served."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hemogat.contract import Modality
from hemogat.data.manifest import Row, audio_path, input_problems, read_rows
from hemogat.errors import InputError
from hemogat.files import replaces_a_file, write_atomic

ALL_ROWS = "all"  # what rows count as where the file has no splits


class Answer(Protocol):
    """What both kinds of prediction have."""

    @property
    def label(self) -> str:
        """The most likely label."""

    @property
    def probabilities(self) -> Mapping[str, float]:
        """By label, all of them."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The inputs that were used."""


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


def read_rows_to_predict(manifest: Path, out: Path) -> list[Row]:
    """Read a CSV file with a column audio, a column text, or both, to be answered in ``out``.

    Raises:
        InputError: one of the files cannot be used, or two rows have one id.
    """
    _check_out(out, manifest)
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


def row_inputs(
    row: Row, manifest: Path, labels: Sequence[str]
) -> tuple[Path | None, str | None, str]:
    """Return a row's audio file, its text, and what errors call it.

    Raises:
        InputError: the row cannot be used; says why.
    """
    problem = next(_problems(row, manifest.parent, labels), None)
    if problem:
        raise InputError(f"{manifest}: row {row.number}: {problem}")
    audio, text = row.cells.get("audio"), row.cells.get("text")
    name = f"{manifest}: row {row.number} ({row.id})"
    return audio_path(audio, manifest.parent) if audio else None, text or None, name


def write_predictions(
    manifest: Path,
    out: Path,
    answered: Sequence[tuple[Row, Answer]],
    skipped: Sequence[SkippedRow],
    labels: Sequence[str],
) -> ManifestPredictions:
    """Write the answers, whole or not at all, and score those whose rows have labels.

    Raises:
        InputError: every row was skipped.
    """
    if not answered:
        raise InputError(
            f"{manifest}: none of its rows can be used; the first: {skipped[0].reason}"
        )
    write_atomic(out, _to_csv(answered, labels))
    return ManifestPredictions(out, len(answered), tuple(skipped), _scores(answered))


def _check_out(out: Path, manifest: Path) -> None:
    if out.is_dir():
        raise InputError(f"{out}: is a folder; expected the name of a CSV file to write")
    if out.resolve() == manifest.resolve():
        raise InputError(f"{out}: is the manifest itself; name another file to write")
    replaces_a_file(out)  # before work, not after it
    out.parent.mkdir(parents=True, exist_ok=True)


def _problems(row: Row, folder: Path, labels: Sequence[str]) -> Iterator[str]:
    yield from input_problems(row, folder)
    label = row.cells.get("label")
    if label and label not in labels:
        # Counted as wrong, another spelling of the labels would read as a bad model.
        yield f"label {label!r} is unknown; expected one of {', '.join(labels)}, or no label"


def _to_csv(answered: Sequence[tuple[Row, Answer]], labels: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "label", *(f"p_{label}" for label in labels), "modalities"))
    for row, answer in answered:
        probabilities = (f"{answer.probabilities[label]:.6f}" for label in labels)
        writer.writerow((row.id, answer.label, *probabilities, ",".join(answer.modalities)))
    return text.getvalue()


def _scores(answered: Sequence[tuple[Row, Answer]]) -> dict[str, Score]:
    correct: dict[str, list[bool]] = {}
    for row, answer in answered:
        label = row.cells.get("label")
        if label:
            split = row.cells.get("split") or ALL_ROWS
            correct.setdefault(split, []).append(label == answer.label)
    return {split: Score(len(hits), sum(hits)) for split, hits in correct.items()}
