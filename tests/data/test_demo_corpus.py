from __future__ import annotations

import hashlib
import sys
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from hemogat.data import demo_corpus
from hemogat.data.demo_corpus import (
    CASES,
    ENCODINGS,
    LABELS,
    MARKER,
    Case,
    DemoCorpus,
    Encoding,
    make_demo_corpus,
    make_gate_corpus,
    unimodal_bound,
)
from hemogat.data.demo_voices import SPEAKERS, Speaker
from hemogat.data.manifest import SPLITS, read_manifest
from hemogat.errors import HemogatError, IncompleteError, InputError

ONE_OF_EACH_SPLIT = [
    next(speaker for speaker in SPEAKERS if speaker.split == split) for split in SPLITS
]
EMOTIONS = st.sampled_from(LABELS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> DemoCorpus:
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    return make_demo_corpus(folder, speakers=ONE_OF_EACH_SPLIT)


def test_both_modalities_decide_but_neither_alone() -> None:
    assert unimodal_bound(CASES, "text") == unimodal_bound(CASES, "audio") == 0.7
    labels_by_evidence = {(case.words, case.prosody): case.label for case in CASES}
    assert len(labels_by_evidence) == len(set(CASES))
    assert all(
        {case.words, case.prosody} <= {case.label, "neutral"}
        for case in CASES  # never two emotions at once
    )


@given(st.lists(st.builds(Case, label=EMOTIONS, words=EMOTIONS, prosody=EMOTIONS), min_size=1))
def test_the_bound_is_that_of_the_best_rule(cases: list[Case]) -> None:
    best = max(
        sum(rule[LABELS.index(case.words)] == case.label for case in cases)
        for rule in product(LABELS, repeat=len(LABELS))
    )
    assert unimodal_bound(cases, "text") == best / len(cases)


def test_every_speaker_says_every_case(corpus: DemoCorpus) -> None:
    assert len(corpus.utterances) == len(corpus.cases) == 3 * len(CASES)
    said = Counter(
        (utterance.speaker, case)
        for utterance, case in zip(corpus.utterances, corpus.cases, strict=True)
    )
    assert said == Counter((speaker.name, case) for speaker in ONE_OF_EACH_SPLIT for case in CASES)
    assert [u.label for u in corpus.utterances] == [case.label for case in corpus.cases]


def test_the_manifest_reads_back_without_a_warning(corpus: DemoCorpus) -> None:
    manifest = read_manifest(corpus.manifest, LABELS)
    assert manifest.utterances == corpus.utterances
    assert manifest.warnings == ()  # among them: no speaker is in two splits
    assert manifest.counts() == {split: dict.fromkeys(LABELS, 5) for split in SPLITS}
    assert len({utterance.text for utterance in corpus.utterances}) == len(corpus.utterances)


def test_all_encodings_are_there_and_none_gives_the_label_away(corpus: DemoCorpus) -> None:
    labels_by_encoding: dict[Encoding, set[str]] = {}
    for utterance in corpus.utterances:
        info = soundfile.info(str(utterance.audio))
        encoding = Encoding(info.format.lower(), info.samplerate, info.channels)
        labels_by_encoding.setdefault(encoding, set()).add(utterance.label)
    assert set(labels_by_encoding) == set(ENCODINGS)
    for trait in ("container", "rate_hz", "channels"):
        for value in {getattr(encoding, trait) for encoding in ENCODINGS}:
            seen = [v for k, v in labels_by_encoding.items() if getattr(k, trait) == value]
            assert set().union(*seen) == set(LABELS), value


def test_clips_are_short_speech_without_clipping_or_long_silence(corpus: DemoCorpus) -> None:
    seconds = 0.0
    for utterance in corpus.utterances:
        samples, rate_hz = soundfile.read(str(utterance.audio), always_2d=True)
        mono = samples.mean(axis=1)
        seconds += len(mono) / rate_hz
        assert 0.8 < len(mono) / rate_hz < 5
        assert np.abs(samples).max() == pytest.approx(0.7, abs=0.001)
        assert mono.std() > 0.02
        loud = np.flatnonzero(np.abs(mono) > 0.02 * np.abs(mono).max()) / rate_hz
        assert loud[0] < 0.15
        assert len(mono) / rate_hz - loud[-1] < 0.3
    assert corpus.seconds == pytest.approx(seconds)


def test_equal_arguments_make_equal_files(tmp_path: Path) -> None:
    folders = {}
    for name, seed in (("first", 5), ("second", 5), ("other", 6)):
        folders[name] = tmp_path / name
        make_demo_corpus(folders[name], speakers=SPEAKERS[:1], seed=seed)
    first, second, other = (digests(folder) for folder in folders.values())
    assert first == second
    assert len(first) == len(CASES) + 2  # the manifest, and what says that this may be replaced
    assert set(first.values()) & set(other.values()) == {first[MARKER]}


def test_progress_counts_every_clip(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    make_demo_corpus(
        tmp_path / "corpus",
        speakers=SPEAKERS[:1],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, len(CASES)) for done in range(1, len(CASES) + 1)]


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_demo_corpus(tmp_path / "corpus", speakers=SPEAKERS[:1], progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    (tmp_path / "manifest.csv").touch()  # a corpus, but not one that was made here
    with pytest.raises(InputError, match="exists already"):
        make_demo_corpus(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"kept.txt", "manifest.csv"}


def test_an_earlier_demo_corpus_is_replaced(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_demo_corpus(tmp_path / "corpus", speakers=SPEAKERS[:1], seed=seed)
    make_demo_corpus(tmp_path / "other", speakers=SPEAKERS[:1], seed=1)
    assert digests(tmp_path / "corpus") == digests(tmp_path / "other")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="corpus cannot be written"):
        make_demo_corpus(tmp_path / "file" / "corpus", speakers=SPEAKERS[:1])


@pytest.mark.parametrize("per_speaker", [-20, 0, 1, 34])
def test_counts_that_would_unbalance_the_corpus_are_refused(
    tmp_path: Path, per_speaker: int
) -> None:
    with pytest.raises(InputError, match="multiple of 20"):
        make_demo_corpus(tmp_path / "corpus", per_speaker=per_speaker)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_voice_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(HemogatError, match="nobody"):
        make_demo_corpus(tmp_path / "corpus", speakers=[Speaker("en-us", "nobody", "train")])
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(IncompleteError, match=r"\[demo\]"):
        make_demo_corpus(tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_gate_has_enough_utterances_of_speakers_that_nothing_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(demo_corpus, "make_demo_corpus", lambda folder, **given: made.update(given))
    make_gate_corpus(tmp_path / "gate")
    assert {speaker.split for speaker in made["speakers"]} == {"val", "test"}
    assert len(made["speakers"]) * made["per_speaker"] == 560
    assert made["seed"] != 0  # whose sentences the corpus has
