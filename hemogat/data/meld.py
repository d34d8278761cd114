"""MELD (Poria et al. 2019): utterances of the series Friends, split by its authors.

The texts come as ``{train,dev,test}_sent_emo.csv``, the sound inside one video per utterance. Its
known faults, at the time of writing: ``dia110_utt7`` of dev has no video, and ``dia125_utt3`` of
train cannot be decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hemogat.data.corpus import Corpus, read_legacy_text, repeated
from hemogat.data.ffmpeg import extract_sound
from hemogat.data.manifest import Row, Split, Utterance, parse_rows
from hemogat.data.problems import all_problems
from hemogat.errors import InputError
from hemogat.progress import Progress

LABELS = ("neutral", "joy", "anger", "sadness", "disgust", "fear", "surprise")
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_CSV: dict[Split, str] = {
    "train": "train_sent_emo.csv",
    "val": "dev_sent_emo.csv",
    "test": "test_sent_emo.csv",
}
_MEDIA: dict[Split, str] = {
    "train": "train_splits",
    "val": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
_VIDEO_SUFFIX = ".mp4"
_MEDIA_SUFFIXES = (".flac", ".wav", _VIDEO_SUFFIX)  # the first that is there is used
_NUMBER = re.compile("[0-9]{1,9}")


def read_meld_text(root: Path) -> Corpus:
    """Read labels, texts and speakers, which are the series' characters.

    Raises:
        InputError: a file is missing or there twice, or rows cannot be used; carries them all.
    """
    utterances: list[Utterance] = []
    problems: list[str] = []
    for split, name in _CSV.items():
        path = _find(root, name)
        for row in parse_rows(path, read_legacy_text(path), COLUMNS):
            found = list(_problems(row))
            problems += [f"{name}: row {row.number}: {problem}" for problem in found]
            if not found:
                utterances.append(_utterance(row, split))
    twice = repeated(utterance.id for utterance in utterances)
    problems += [f"{name} is there more than once" for name in twice]
    if problems:
        raise InputError(all_problems(root, problems), problems)
    return Corpus(root, LABELS, tuple(utterances))


def with_sound(corpus: Corpus, extracted: Path, progress: Progress | None = None) -> Corpus:
    """Find each utterance's sound: a file beside the video, else taken out of the video.

    Args:
        corpus: what :func:`read_meld_text` returned.
        extracted: folder for sound taken out of videos; what is there already is kept.
        progress: draws a bar.

    Returns:
        The utterances with sound; the others are listed as bad.

    Raises:
        InputError: a split's folder of videos is missing.
        IncompleteError: ffmpeg is needed and not installed.
    """
    used = {utterance.split for utterance in corpus.utterances}
    media = {split: _find(corpus.root, _MEDIA[split]) for split in sorted(used)}
    sounds: dict[str, Path] = {}
    videos: dict[str, Path] = {}
    for utterance in corpus.utterances:
        stem = utterance.id.partition("_")[2]
        candidates = (media[utterance.split] / f"{stem}{suffix}" for suffix in _MEDIA_SUFFIXES)
        found = next((path for path in candidates if path.is_file()), None)
        if found is not None and found.suffix == _VIDEO_SUFFIX:
            videos[utterance.id] = found
            found = extracted / utterance.split / f"{stem}.flac"
        if found is not None:
            sounds[utterance.id] = found
    failures = extract_sound([(video, sounds[name]) for name, video in videos.items()], progress)
    bad = {
        utterance.id: f"no {', '.join(_MEDIA_SUFFIXES)} file in {media[utterance.split]}"
        for utterance in corpus.utterances
        if utterance.id not in sounds
    } | {name: f"{video}: {failures[video]}" for name, video in videos.items() if video in failures}
    heard = (
        replace(utterance, audio=sounds[utterance.id])
        for utterance in corpus.utterances
        if utterance.id not in bad
    )
    listed = tuple(f"{name}: {reason}" for name, reason in sorted(bad.items()))
    return replace(corpus, utterances=tuple(heard), bad=listed)


def _find(root: Path, name: str) -> Path:
    """Find a file or folder at most two levels below ``root``, as the archives unpack."""
    for pattern in (name, f"*/{name}", f"*/*/{name}"):
        found = sorted(root.glob(pattern))
        if len(found) > 1:
            raise InputError(
                f"{root}: expected one {name}, found {found[0]} and {found[1]}; name the folder "
                "of one of them"
            )
        if found:
            return found[0]
    advice = "" if name.endswith(".csv") else "; to do without sound, ask for the text only"
    raise InputError(f"{root}: holds no {name}, not two levels below it either{advice}")


def _problems(row: Row) -> Iterator[str]:
    if row.surplus_cells:
        yield f"expected as many cells as the header has, found {row.surplus_cells:+d}"
        return
    cells = row.cells
    if cells["Emotion"].lower() not in LABELS:
        yield f"Emotion {cells['Emotion']!r} is unknown; expected one of {', '.join(LABELS)}"
    for column in ("Dialogue_ID", "Utterance_ID"):
        if not _NUMBER.fullmatch(cells[column]):
            yield f"{column} {cells[column]!r} is not a whole number"
    if not cells["Utterance"]:
        yield "Utterance is empty"


def _utterance(row: Row, split: Split) -> Utterance:
    cells = row.cells
    dialogue, turn = int(cells["Dialogue_ID"]), int(cells["Utterance_ID"])
    return Utterance(
        id=f"{split}_dia{dialogue}_utt{turn}",
        audio=None,
        text=" ".join(cells["Utterance"].split()),
        label=cells["Emotion"].lower(),
        speaker=cells["Speaker"],
        split=split,
        dialogue=f"{split}_dia{dialogue}",
        turn=turn,
    )
