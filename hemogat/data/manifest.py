"""Manifests: the CSV files that list a corpus, one utterance per row."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from hemogat.data.problems import all_problems, first_few
from hemogat.errors import InputError
from hemogat.files import write_atomic

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
COLUMNS = ("audio", "text", "label", "speaker", "split")
OPTIONAL_COLUMNS = ("dialogue", "turn")
_TURN = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class Utterance:
    """One labelled unit: audio, text, or both.

    ``dialogue`` and ``turn`` (counted from 0) say where it was spoken, if that is known.
    """

    id: str
    audio: Path | None
    text: str | None
    label: str
    speaker: str
    split: Split
    dialogue: str | None = None
    turn: int | None = None


@dataclass(frozen=True)
class Manifest:
    """A corpus that has been checked as a whole."""

    path: Path
    labels: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    warnings: tuple[str, ...]

    def split(self, name: Split) -> tuple[Utterance, ...]:
        """Return the utterances of one split, in the order of the file."""
        return tuple(utterance for utterance in self.utterances if utterance.split == name)

    def counts(self) -> dict[str, dict[str, int]]:
        """Count utterances by split and label, those with none included."""
        found = Counter((utterance.split, utterance.label) for utterance in self.utterances)
        return {split: {label: found[split, label] for label in self.labels} for split in SPLITS}


class ManifestError(InputError):
    """A manifest, or another CSV file that lists utterances, cannot be used."""


def read_manifest(
    path: str | Path, labels: Sequence[str] | None = None, *, to_train: bool = True
) -> Manifest:
    """Read a manifest and check all of it.

    It is a CSV file in UTF-8 with the columns audio, text, label, speaker and split in any order
    and optionally id (default: the audio path as written, or ``row-<n>`` without audio), dialogue
    and turn; other columns are ignored. Audio paths are absolute, or relative to the manifest's
    folder and inside it. Rows are numbered as a spreadsheet shows them: the header is row 1.

    Args:
        path: the CSV file.
        labels: the labels allowed, in the order of the classes; default: those found, sorted.
        to_train: whether it is to train on: there must be a row for that, and no audio file in
            two splits.

    Raises:
        ManifestError: it cannot be used; carries every problem found.
    """
    path = Path(path)
    rows = read_rows(path, COLUMNS)
    problems: list[str] = []
    row_by_id: dict[str, Row] = {}
    row_by_audio: dict[str, Row] = {}
    for row in rows:
        found = list(_row_problems(row, path.parent, labels))
        first = row_by_id.setdefault(row.id, row)
        if first is not row:
            found.append(f"id {row.id!r} is already that of row {first.number}")
        if to_train:  # where nothing is learned, nothing can be given away
            found += _in_another_split(row, path.parent, row_by_audio)
        problems += [f"row {row.number}: {problem}" for problem in found]
    if not rows:
        problems.append("it holds no utterances")
    elif to_train and all(row.cells["split"] != "train" for row in rows):
        problems.append("no row is in the train split")
    if problems:
        raise _manifest_error(path, problems)
    utterances = tuple(_utterance(row, path.parent) for row in rows)
    if labels is None:
        labels = sorted({utterance.label for utterance in utterances})
    return Manifest(path, tuple(labels), utterances, tuple(_speaker_warnings(utterances)))


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest that :func:`read_manifest` reads, whole or not at all.

    Audio inside the manifest's folder is written relative to it, other audio absolute. Whitespace
    in texts is collapsed, so that a row is a line. The columns dialogue and turn are there if any
    utterance has a dialogue.

    Raises:
        InputError: a value cannot stand in a CSV file of one line per row, or the file cannot be
            written.
    """
    path = Path(path)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    utterances = list(utterances)
    has_dialogues = any(utterance.dialogue is not None for utterance in utterances)
    columns = ("id", *COLUMNS, *(OPTIONAL_COLUMNS if has_dialogues else ()))
    writer.writerow(columns)
    for utterance in utterances:
        row = _row_to_write(utterance, path.parent)[: len(columns)]
        if any(character in cell for cell in row for character in "\0\r\n"):
            raise InputError(f"{path}: a value of {row} holds a line break or null character")
        writer.writerow(row)
    try:
        write_atomic(path, text.getvalue())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: a value is not valid Unicode ({error})") from error


@dataclass(frozen=True)
class Row:
    """One row as written, cells stripped of outer whitespace."""

    number: int
    cells: Mapping[str, str]  # by column; "" where the row is too short
    surplus_cells: int  # negative where it is too short

    @property
    def id(self) -> str:
        """The id, by default the audio path as written."""
        return self.cells.get("id") or self.cells.get("audio") or f"row-{self.number}"


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """Return the rows of a UTF-8 file, but for blank lines and the header.

    Args:
        path: the CSV file.
        columns: what the header must name.

    Raises:
        ManifestError: it is not such a file.
    """
    try:
        if not (path.is_file() or path.is_dir() or not path.exists()):  # a pipe would never end
            raise _manifest_error(path, ["it is a device or a pipe; expected a file"])
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise _manifest_error(path, [f"it cannot be read ({error.strerror})"]) from error
    except UnicodeDecodeError as error:
        raise _manifest_error(path, [f"it is not UTF-8 text ({error})"]) from error
    return parse_rows(path, content, columns)


def parse_rows(path: Path, content: str, columns: Sequence[str]) -> list[Row]:
    """Return what :func:`read_rows` does, of a file already read.

    Raises:
        ManifestError: it is not such a file.
    """
    if "\0" in content:
        raise _manifest_error(path, ["it holds null characters, so it is not CSV"])
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        lines = [[cell.strip() for cell in line] for line in reader]
    except csv.Error as error:
        raise _manifest_error(path, [f"line {reader.line_num} is not CSV ({error})"]) from error
    header = lines[0] if lines else []
    problems = [f"column {name!r} is missing" for name in columns if name not in header]
    problems += [
        f"column {name!r} is there {count} times"
        for name, count in Counter(header).items()
        if count > 1 and name in ("id", *COLUMNS, *OPTIONAL_COLUMNS, *columns)
    ]
    if problems:
        raise _manifest_error(path, [*problems, f"the header is {','.join(header)!r}"])
    blank = [""] * len(header)
    return [
        Row(number, dict(zip(header, line + blank, strict=False)), len(line) - len(header))
        for number, line in enumerate(lines[1:], start=2)
        if line
    ]


def input_problems(row: Row, folder: Path) -> Iterator[str]:
    """Say why a row's audio and text cannot be used; ``folder``: the manifest's."""
    if row.surplus_cells:
        kind = "more" if row.surplus_cells > 0 else "fewer"
        yield f"{kind} cells than the header (a text with commas needs quotes)"
        return  # its cells may stand in the wrong columns
    audio = row.cells.get("audio", "")
    if os.path.normpath(audio).split(os.sep)[0] == "..":
        yield f"audio {audio!r} is outside the manifest's folder; move it or write it absolute"
    elif audio and not os.path.isfile(audio_path(audio, folder)):
        yield f"audio {audio!r}: no such file"
    if not audio and not row.cells.get("text"):
        yield "neither audio nor text"


def _row_problems(row: Row, folder: Path, labels: Sequence[str] | None) -> Iterator[str]:
    yield from input_problems(row, folder)
    if row.surplus_cells:
        return
    label, split = row.cells["label"], row.cells["split"]
    if not label:
        yield "no label"
    elif labels is not None and label not in labels:
        yield f"label {label!r} is unknown; expected one of {', '.join(labels)}"
    if split not in SPLITS:
        yield f"split {split!r} is unknown; expected one of {', '.join(SPLITS)}"
    turn = row.cells.get("turn", "")
    if turn and not _TURN.fullmatch(turn):
        yield f"turn {turn!r} is not a whole number"
    elif turn and not row.cells.get("dialogue"):
        yield f"turn {turn!r} of no dialogue"


def _in_another_split(row: Row, folder: Path, row_by_audio: dict[str, Row]) -> Iterator[str]:
    """Say whether a row's audio is that of an earlier one of another split; note the row."""
    audio, split = row.cells.get("audio", ""), row.cells.get("split")
    if not audio or row.surplus_cells:
        return
    first = row_by_audio.setdefault(os.path.abspath(audio_path(audio, folder)), row)
    if first.cells.get("split") != split:
        yield (
            f"audio {audio!r} in split {split!r} is the file of row {first.number}, which is in "
            f"split {first.cells.get('split')!r}; leave it in one of them"
        )


def audio_path(written: str, folder: Path) -> Path:
    """Return the path of an audio file as a manifest in ``folder`` writes it."""
    return folder / os.path.normpath(written)  # an absolute path stays as it is


def _utterance(row: Row, folder: Path) -> Utterance:
    cells = row.cells
    turn = cells.get("turn")
    return Utterance(
        id=row.id,
        audio=audio_path(cells["audio"], folder) if cells["audio"] else None,
        text=cells["text"] or None,
        label=cells["label"],
        speaker=cells["speaker"],
        split=next(split for split in SPLITS if split == cells["split"]),
        dialogue=cells.get("dialogue") or None,
        turn=int(turn) if turn else None,
    )


def _speaker_warnings(utterances: Iterable[Utterance]) -> Iterator[str]:
    """Say where results would not be speaker-independent, or cannot be known to be."""
    splits_by_speaker: dict[str, set[Split]] = defaultdict(set)
    for utterance in utterances:
        splits_by_speaker[utterance.speaker].add(utterance.split)
    if splits_by_speaker.pop("", None):
        yield "some rows name no speaker: whether splits share speakers is unknown"
    tested: list[str] = []
    validated: list[str] = []
    for speaker, splits in sorted(splits_by_speaker.items()):
        if len(splits) > 1:
            (tested if "test" in splits else validated).append(speaker)
    if tested:
        yield (
            f"{len(tested)} speakers of the test split are in another one too "
            f"({first_few(tested, ', ')}): results will not be speaker-independent"
        )
    if validated:
        yield (
            f"{len(validated)} speakers are in both train and val ({first_few(validated, ', ')}): "
            "validation will not be speaker-independent"
        )


def _row_to_write(utterance: Utterance, folder: Path) -> tuple[str, ...]:
    """Return the cells of one row, in the order of the header, optional columns included."""
    audio = ""
    if utterance.audio is not None:
        absolute, root = Path(os.path.abspath(utterance.audio)), Path(os.path.abspath(folder))
        inside = absolute.is_relative_to(root)
        audio = str(absolute.relative_to(root) if inside else absolute)
    text = " ".join((utterance.text or "").split())
    turn = "" if utterance.turn is None else str(utterance.turn)
    labelled = (utterance.label, utterance.speaker, utterance.split)
    return (utterance.id, audio, text, *labelled, utterance.dialogue or "", turn)


def _manifest_error(path: Path, problems: Sequence[str]) -> ManifestError:
    return ManifestError(all_problems(path, problems), problems)
