"""The demo corpus: short emotional utterances of synthetic voices, made on the spot.

Words and prosody both carry the emotion, and neither alone decides it: an emotional utterance has
emotional words, or an emotional delivery, or both. :func:`unimodal_bound` says how far one
modality alone can get; both together decide every utterance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from hemogat.contract import Modality
from hemogat.data.demo_sentences import SentenceMaker
from hemogat.data.demo_voices import (
    HELD_OUT_SPEAKERS,
    PROSODIES,
    SPEAKERS,
    Speaker,
    ask_for,
    shape_spectrum,
)
from hemogat.data.espeak import SAMPLE_RATE_HZ, Speech, synthesise
from hemogat.data.manifest import Utterance, write_manifest
from hemogat.errors import InputError
from hemogat.files import folder_written_whole

LABELS: tuple[str, ...] = ("angry", "happy", "neutral", "sad")
MANIFEST = "manifest.csv"
MARKER = "DEMO_CORPUS.txt"  # says that the folder may be replaced
_MARKER_TEXT = "Synthetic speech made by hemogat; made anew, it replaces this folder.\n"

_SILENCE = 0.01  # of the peak
_MARGIN_S = 0.02  # of silence kept at both ends
_PEAK = 0.7
_PAN = (1.0, 0.6)  # left and right, for stereo


@dataclass(frozen=True)
class Encoding:
    """How one utterance is stored."""

    container: str
    rate_hz: int
    channels: int


ENCODINGS: tuple[Encoding, ...] = tuple(
    Encoding(container, rate_hz, channels)
    for container, rate_hz, channels in product(
        ("wav", "flac"), (8_000, 16_000, 22_050, 44_100), (1, 2)
    )
)


@dataclass(frozen=True)
class Case:
    """The emotion of one utterance, of its words, and of its prosody."""

    label: str
    words: str
    prosody: str


def _cases_of(label: str) -> list[Case]:
    both = Case(label, words=label, prosody=label)
    words_only = Case(label, words=label, prosody="neutral")
    prosody_only = Case(label, words="neutral", prosody=label)
    return [both, words_only, words_only, prosody_only, prosody_only]


# What every speaker says, as often as needed: with 20 % in both modalities and 40 % in each one
# alone, either modality leaves 40 % of the emotional utterances looking neutral.
CASES: tuple[Case, ...] = tuple(case for label in LABELS for case in _cases_of(label))


def unimodal_bound(cases: Iterable[Case], modality: Modality) -> float:
    """Return the best accuracy on ``cases`` of who perceives ``modality`` alone, without error."""
    perceived = Counter(
        (case.words if modality == "text" else case.prosody, case.label) for case in cases
    )
    best: dict[str, int] = {}
    for (emotion, _), count in perceived.items():
        best[emotion] = max(best.get(emotion, 0), count)
    return sum(best.values()) / perceived.total()


@dataclass(frozen=True)
class DemoCorpus:
    """A corpus on disk; ``cases`` goes along with ``utterances``, ``seconds`` is their sum."""

    manifest: Path
    utterances: tuple[Utterance, ...]
    cases: tuple[Case, ...]
    seconds: float


@dataclass(frozen=True)
class _Line:
    """One utterance to be made."""

    id: str
    speaker: Speaker
    case: Case
    speech: Speech
    encoding: Encoding


def make_demo_corpus(
    folder: str | Path,
    *,
    per_speaker: int = len(CASES),
    speakers: Sequence[Speaker] = SPEAKERS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> DemoCorpus:
    """Make the corpus in ``folder``, whole or not at all; equal arguments make equal files.

    Args:
        folder: gets ``manifest.csv`` and the clips in ``audio/``; an earlier demo corpus there is
            replaced, nothing else is.
        per_speaker: utterances of each speaker, a multiple of ``len(CASES)``.
        speakers: who speaks.
        seed: of the sentences, the order, the small variations and the encodings.
        progress: called with the number of clips written and of all clips.

    Raises:
        InputError: ``folder`` holds something else or cannot be written, or ``per_speaker`` does
            not fit.
        IncompleteError: the package that holds espeak-ng is not installed.
        HemogatError: espeak-ng failed.
    """
    folder = Path(folder)
    if per_speaker < 1 or per_speaker % len(CASES):
        raise InputError(
            f"per_speaker: expected a multiple of {len(CASES)}, so that no modality alone "
            f"decides, found {per_speaker}"
        )
    lines = _write_script(speakers, per_speaker // len(CASES), np.random.default_rng(seed))
    try:
        with folder_written_whole(folder, replace_if_has=MARKER) as unfinished:
            spoken = synthesise([line.speech for line in lines])
            seconds = _write_corpus(unfinished, lines, spoken, progress)
            (unfinished / MARKER).write_text(_MARKER_TEXT, encoding="utf-8")
    except (OSError, soundfile.LibsndfileError) as error:
        raise InputError(f"{folder}: the corpus cannot be written ({error})") from error
    utterances = tuple(_utterance(folder, line) for line in lines)
    cases = tuple(line.case for line in lines)
    return DemoCorpus(folder / MANIFEST, utterances, cases, seconds)


def make_gate_corpus(
    folder: str | Path, *, progress: Callable[[int, int], None] | None = None
) -> DemoCorpus:
    """Make utterances that the demo's export is compared on: other sentences than the corpus's.

    They are of the speakers that nothing is trained on, and enough to speak of rates. Raises as
    :func:`make_demo_corpus`.
    """
    return make_demo_corpus(
        folder, per_speaker=80, speakers=HELD_OUT_SPEAKERS, seed=1, progress=progress
    )


def _write_script(
    speakers: Sequence[Speaker], rounds: int, rng: np.random.Generator
) -> list[_Line]:
    """Decide everything that chance decides: who says what, how, and how it is stored."""
    count = len(speakers) * rounds * len(CASES)
    encodings = rng.permutation(np.resize(np.arange(len(ENCODINGS)), count))
    sentences = SentenceMaker(rng)
    lines: list[_Line] = []
    for speaker in speakers:
        for number, dealt in enumerate(rng.permutation(rounds * len(CASES))):
            case = CASES[dealt % len(CASES)]
            text = sentences.draw(case.words)
            lines.append(
                _Line(
                    id=f"{speaker.name}-{number:03d}",
                    speaker=speaker,
                    case=case,
                    speech=ask_for(text, speaker, PROSODIES[case.prosody], rng),
                    encoding=ENCODINGS[encodings[len(lines)]],
                )
            )
    return lines


def _write_corpus(
    folder: Path,
    lines: Sequence[_Line],
    spoken: Sequence[NDArray[np.int16]],
    progress: Callable[[int, int], None] | None,
) -> float:
    """Write clips and manifest into a new folder; return the seconds of all clips."""
    (folder / "audio").mkdir(parents=True)
    seconds = 0.0
    for done, (line, samples) in enumerate(zip(lines, spoken, strict=True), start=1):
        seconds += _write_clip(_clip_path(folder, line), samples, line)
        if progress is not None:
            progress(done, len(lines))
    write_manifest(folder / MANIFEST, [_utterance(folder, line) for line in lines])
    return seconds


def _clip_path(folder: Path, line: _Line) -> Path:
    return folder / "audio" / f"{line.id}.{line.encoding.container}"


def _utterance(folder: Path, line: _Line) -> Utterance:
    return Utterance(
        id=line.id,
        audio=_clip_path(folder, line),
        text=line.speech.text,
        label=line.case.label,
        speaker=line.speaker.name,
        split=line.speaker.split,
    )


def _write_clip(path: Path, samples: NDArray[np.int16], line: _Line) -> float:
    """Finish and store one utterance; return its seconds."""
    encoding = line.encoding
    clip = shape_spectrum(_trim(samples), PROSODIES[line.case.prosody])
    clip = soxr.resample(clip, SAMPLE_RATE_HZ, encoding.rate_hz)
    clip *= _PEAK / np.abs(clip).max()
    if encoding.channels == 2:
        clip = np.outer(clip, _PAN)
    soundfile.write(path, clip, encoding.rate_hz, subtype="PCM_16")
    return len(clip) / encoding.rate_hz


def _trim(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return floats without the silence at both ends, but for a short margin."""
    floats = samples / 32768
    loud = np.flatnonzero(np.abs(floats) > _SILENCE * np.abs(floats).max())
    margin = round(_MARGIN_S * SAMPLE_RATE_HZ)
    return floats[max(0, loud[0] - margin) : loud[-1] + 1 + margin]
