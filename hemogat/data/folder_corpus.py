"""Corpora whose labels are in the names of folders or files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hemogat.data.corpus import Corpus, read_legacy_text
from hemogat.data.manifest import Split, Utterance
from hemogat.data.splits import speaker_disjoint, stratified
from hemogat.errors import InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
_SPLIT_BY_NAME: dict[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}


@dataclass(frozen=True)
class Naming:
    """What file names, without their suffixes, say: each pattern's first group is searched.

    ``label``: the label; None: it is the name of the file's folder. ``labels``: the label that
    each such name means, all others being left out; empty: the names themselves. ``speaker``: the
    speaker; None: not known.
    """

    label: re.Pattern[str] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    speaker: re.Pattern[str] | None = None


def read_folder(root: Path, naming: Naming) -> tuple[Corpus, bool]:
    """Read ``root/<label>/<file>`` or ``root/<split>/<label>/<file>``; sound of any kind known.

    With a pattern for labels, files may lie at any depth. The text file beside a sound file that
    has its name holds what is said.

    Returns:
        The corpus, and whether its folders are splits (train, val, test or a synonym). Files
        whose names the patterns do not fit are listed as bad.

    Raises:
        InputError: there are no sound files, or some of them are in a split's folder and some are
            not.
    """
    files = _sound_files(root, depth_is_free=naming.label is not None)
    splits = [_SPLIT_BY_NAME.get(file.relative_to(root).parts[0]) for file in files]
    if None in splits and any(splits):
        stray = files[splits.index(None)]
        raise InputError(
            f"{root}: some files are in folders named as splits ({', '.join(_SPLIT_BY_NAME)}) "
            f"and some are not, as {stray.relative_to(root)}"
        )
    utterances: list[Utterance] = []
    left_out: Counter[str] = Counter()
    bad: list[str] = []
    for file, split in zip(files, splits, strict=True):
        name = file.relative_to(root).as_posix()
        try:
            written = _group(naming.label, file.stem) if naming.label else file.parent.name
            label = naming.labels.get(written) if naming.labels else written
            if label is None:
                left_out[written] += 1
                continue
            utterances.append(
                Utterance(
                    id=name,
                    audio=file,
                    text=_text_beside(file),
                    label=label,
                    speaker=_group(naming.speaker, file.stem) if naming.speaker else "",
                    split=split or "train",
                )
            )
        except InputError as error:
            bad.append(f"{name}: {error}")
    labels = tuple(sorted({utterance.label for utterance in utterances}))
    return Corpus(root, labels, tuple(utterances), dict(left_out), tuple(bad)), any(splits)


def draw_splits(corpus: Corpus, seed: int) -> dict[str, Split]:
    """Split by speaker if at least three are known and none is unknown, else by label."""
    speakers = {utterance.speaker for utterance in corpus.utterances}
    if len(speakers) >= 3 and "" not in speakers:
        return speaker_disjoint(corpus.utterances, seed)
    return stratified(corpus.utterances, seed)


def _sound_files(root: Path, *, depth_is_free: bool) -> list[Path]:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    patterns = ("**/*",) if depth_is_free else ("*/*", "*/*/*")
    files = sorted(
        file
        for pattern in patterns
        for file in root.glob(pattern)
        if file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith(".")
    )
    if not depth_is_free:
        files = [file for file in files if _is_labelled(file.relative_to(root).parts)]
    if not files:
        where = "" if depth_is_free else " in folders named by label, or by split and label"
        raise InputError(f"{root}: holds no sound files ({', '.join(SUFFIXES)}){where}")
    return files


def _is_labelled(parts: tuple[str, ...]) -> bool:
    """Say whether a path is label/file, or split/label/file."""
    return len(parts) == (3 if parts[0] in _SPLIT_BY_NAME else 2)


def _group(pattern: re.Pattern[str], stem: str) -> str:
    found = pattern.search(stem)
    if not found or not found[1]:
        raise InputError(f"its name does not fit {pattern.pattern!r}")
    return found[1]


def _text_beside(file: Path) -> str | None:
    path = file.with_suffix(".txt")
    return " ".join(read_legacy_text(path).split()) or None if path.is_file() else None
