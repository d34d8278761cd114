"""IEMOCAP (Busso et al. 2008) as its authors release it: five sessions of one woman and one man.

Read are the categorical labels that the annotators agreed on, the transcriptions, and one WAV file
per utterance. The four classes are the paper's: excited counts as happy, and the other labels
(frustrated, surprised, fearful, disgusted, other, no agreement) are left out.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hemogat.data.corpus import Corpus, read_legacy_text
from hemogat.data.manifest import SPLITS, Split, Utterance, parse_rows
from hemogat.data.problems import all_problems
from hemogat.data.splits import stratified
from hemogat.errors import InputError

LABELS = ("angry", "happy", "neutral", "sad")
SESSIONS = (1, 2, 3, 4, 5)
_AUTHORS_LABELS = {str(number): label for number, label in enumerate(LABELS)}
_LABEL_BY_CODE = {"ang": "angry", "hap": "happy", "exc": "happy", "neu": "neutral", "sad": "sad"}

# [6.2901 - 8.2357]  Ses01F_impro01_F000  neu  [2.5000, 2.5000, 2.5000]
_EVALUATION = re.compile(
    r"\[(?P<start>[0-9]{1,9}\.?[0-9]*) - [0-9.]+\]\t(?P<id>[^\s/]+)\t(?P<code>[a-z]+)\t\[.*\]"
)
# Session and dialogue, which begins with the actor who wears the markers; then who speaks.
_ID = re.compile(r"(?P<dialogue>(?P<session>Ses[0-9]{2})[FM]_\w+)_(?P<speaker>[FM])[^_]+")
# Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
_TRANSCRIPT = re.compile(r"(?P<id>Ses\S+) \[[0-9.]+-[0-9.]+\]:(?P<text>.*)")


@dataclass(frozen=True)
class Evaluation:
    """One line of an evaluation: an utterance and the label that its annotators agreed on."""

    id: str
    dialogue: str
    speaker: str
    start_s: float
    code: str  # ang, exc, fru, ..., xxx: no agreement


def read_iemocap(root: Path) -> Corpus:
    """Read all sessions under ``root``; utterances are in the order of their dialogues.

    Turns count all utterances of a dialogue in the order of time, also those left out. Utterances
    without sound or transcript are listed as bad.

    Raises:
        InputError: this is not IEMOCAP's folder, or a file in it is not what it should be.
    """
    folders = [root / f"Session{number}" for number in SESSIONS]
    missing = [folder.name for folder in folders if not folder.is_dir()]
    if missing:
        raise InputError(
            f"{root}: has no {', '.join(missing)}; expected IEMOCAP_full_release, which holds "
            "Session1 to Session5"
        )
    utterances: list[Utterance] = []
    left_out: Counter[str] = Counter()
    bad: list[str] = []
    for folder in folders:
        transcripts = _transcripts(folder)
        for turn, evaluation in _evaluations(folder):
            label = _LABEL_BY_CODE.get(evaluation.code)
            if label is None:
                left_out[evaluation.code] += 1
                continue
            audio = folder / "sentences" / "wav" / evaluation.dialogue / f"{evaluation.id}.wav"
            text = transcripts.get(evaluation.id)
            if not audio.is_file():
                bad.append(f"{evaluation.id}: no such file: {audio}")
            elif not text:
                bad.append(f"{evaluation.id}: no transcript in {folder}/dialog/transcriptions")
            else:
                utterances.append(_utterance(evaluation, turn, label, audio, text))
    return Corpus(root, LABELS, tuple(utterances), dict(left_out), tuple(bad))


def parse_evaluations(content: str, path: Path) -> list[Evaluation]:
    """Parse one file of EmoEvaluation; lines of single annotators are passed over.

    Raises:
        InputError: a line that begins as a summary does is none.
    """
    found = []
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.startswith("["):
            continue
        summary = _EVALUATION.fullmatch(line.rstrip())
        name = _ID.fullmatch(summary["id"]) if summary else None
        if summary is None or name is None:
            raise InputError(
                f"{path}: line {number}: expected '[start - end]<TAB>utterance<TAB>label<TAB>"
                f"[valence, activation, dominance]', found {line[:80]!r}"
            )
        found.append(
            Evaluation(
                id=summary["id"],
                dialogue=name["dialogue"],
                speaker=name["session"] + name["speaker"],
                start_s=float(summary["start"]),
                code=summary["code"],
            )
        )
    return found


def parse_transcripts(content: str) -> dict[str, str]:
    """Return the text of each utterance; remarks between them, which the files have, are not."""
    lines = (_TRANSCRIPT.fullmatch(line.strip()) for line in content.split("\n"))
    return {line["id"]: " ".join(line["text"].split()) for line in lines if line}


def read_authors_splits(folder: Path) -> dict[str, Split]:
    """Read the split of each utterance from IEMOCAP_metadata_{train,val,test}.csv.

    These are files of the HemoGAT authors' repository, with the columns audio_file, raw_text and
    label. Only the names of the audio files are used: labels and texts are the corpus's own.

    Raises:
        InputError: a file is missing or is not such a file, or an utterance is in two splits.
    """
    splits: dict[str, Split] = {}
    problems = []
    for split in SPLITS:
        path = folder / f"IEMOCAP_metadata_{split}.csv"
        for row in parse_rows(path, read_legacy_text(path), ["audio_file"]):
            written = row.cells["audio_file"].replace("\\", "/")
            name = PurePosixPath(written).stem
            if splits.setdefault(name, split) != split:
                problems.append(f"{path.name}: row {row.number}: {name} is in {splits[name]} too")
    if problems:
        raise InputError(all_problems(folder, problems), problems)
    return splits


def labels_that_differ(folder: Path, corpus: Corpus) -> dict[str, tuple[str, str]]:
    """Compare the label column of the authors' files with the corpus's own labels.

    Their numbers stand for :data:`LABELS` in this order, as the counts of their files have it; the
    list of names in their code has neutral and sad swapped. Files without the column are passed
    over.

    Returns:
        What they have and what the corpus has, by the id of utterances where this differs.
    """
    own = {utterance.id: utterance.label for utterance in corpus.utterances}
    differ = {}
    for split in SPLITS:
        path = folder / f"IEMOCAP_metadata_{split}.csv"
        for row in parse_rows(path, read_legacy_text(path), ["audio_file"]):
            name = PurePosixPath(row.cells["audio_file"].replace("\\", "/")).stem
            written = row.cells.get("label", "")
            theirs = _AUTHORS_LABELS.get(written, written)
            if theirs and name in own and theirs != own[name]:
                differ[name] = (theirs, own[name])
    return differ


def leave_session_out(corpus: Corpus, session: int, seed: int) -> dict[str, Split]:
    """Test on one session's two speakers.

    A seeded tenth of every label of the other sessions is for validation, so test is independent
    of speakers and validation is not.

    Returns:
        The split of each id.
    """
    prefix = f"Ses{session:02}"
    rest = [row for row in corpus.utterances if not row.id.startswith(prefix)]
    tested: dict[str, Split] = {
        row.id: "test" for row in corpus.utterances if row.id.startswith(prefix)
    }
    return tested | stratified(rest, seed, test_share=0)


def _text_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; is this copy of IEMOCAP complete?")
    # Copies that passed through macOS hold a ._ file beside every file.
    return sorted(path for path in folder.glob("*.txt") if not path.name.startswith("."))


def _evaluations(session: Path) -> Iterator[tuple[int, Evaluation]]:
    by_dialogue: dict[str, list[Evaluation]] = defaultdict(list)
    for path in _text_files(session / "dialog" / "EmoEvaluation"):
        for evaluation in parse_evaluations(read_legacy_text(path), path):
            by_dialogue[evaluation.dialogue].append(evaluation)
    for _, spoken in sorted(by_dialogue.items()):
        yield from enumerate(sorted(spoken, key=lambda one: (one.start_s, one.id)))


def _transcripts(session: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for path in _text_files(session / "dialog" / "transcriptions"):
        texts |= parse_transcripts(read_legacy_text(path))
    return texts


def _utterance(evaluation: Evaluation, turn: int, label: str, audio: Path, text: str) -> Utterance:
    return Utterance(
        id=evaluation.id,
        audio=audio,
        text=text,
        label=label,
        speaker=evaluation.speaker,
        split="train",
        dialogue=evaluation.dialogue,
        turn=turn,
    )
