from __future__ import annotations

import re
from pathlib import Path

import pytest

from hemogat.data.folder_corpus import Naming, draw_splits, read_folder
from hemogat.errors import InputError

EMODB = Path(__file__).parents[3] / "shared" / "data" / "emodb"
EMODB_NAMING = Naming(
    label=re.compile("^.{5}(.)"),
    labels={
        "W": "anger",
        "L": "boredom",
        "E": "disgust",
        "A": "fear",
        "F": "happiness",
        "T": "sadness",
        "N": "neutral",
    },
    speaker=re.compile("^(..)"),
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_folders_are_labels(tmp_path: Path) -> None:
    touch(tmp_path, "sad/a.wav", "sad/b.FLAC", "happy/a.mp3", "stray.wav", "sad/x/deep.wav")
    touch(tmp_path, "sad/._a.wav", "sad/notes.md")
    (tmp_path / "sad" / "a.txt").write_bytes(b"I\x92m\n sad")

    corpus, is_split = read_folder(tmp_path, Naming())

    assert not is_split
    assert corpus.labels == ("happy", "sad")
    assert [(row.id, row.label, row.text, row.speaker) for row in corpus.utterances] == [
        ("happy/a.mp3", "happy", None, ""),
        ("sad/a.wav", "sad", "I’m sad", ""),
        ("sad/b.FLAC", "sad", None, ""),
    ]


def test_folders_are_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/sad/a.wav", "dev/sad/a.wav", "test/happy/b.ogg")
    corpus, is_split = read_folder(tmp_path, Naming())
    assert is_split
    assert {row.id: row.split for row in corpus.utterances} == {
        "train/sad/a.wav": "train",
        "dev/sad/a.wav": "val",
        "test/happy/b.ogg": "test",
    }
    touch(tmp_path, "happy/c.wav")
    with pytest.raises(InputError, match=r"some are not, as happy/c\.wav"):
        read_folder(tmp_path, Naming())


def test_names_say_label_and_speaker(tmp_path: Path) -> None:
    touch(tmp_path, "03a01Fa.wav", "x/08a01Wb.wav", "x/08a01Xb.wav", "notesen.wav", "1.wav")
    corpus, is_split = read_folder(tmp_path, EMODB_NAMING)
    assert not is_split
    assert [(row.id, row.label, row.speaker) for row in corpus.utterances] == [
        ("03a01Fa.wav", "happiness", "03"),
        ("x/08a01Wb.wav", "anger", "08"),
    ]
    assert corpus.left_out == {"X": 1, "e": 1}
    assert corpus.bad == ("1.wav: its name does not fit '^.{5}(.)'",)


def test_splits_are_by_speaker_where_speakers_are_known(tmp_path: Path) -> None:
    touch(tmp_path, *(f"sad/s{speaker}_{take}.wav" for speaker in range(5) for take in range(4)))
    known, _ = read_folder(tmp_path, Naming(speaker=re.compile("^(s.)")))
    splits = draw_splits(known, seed=0)
    assert all(len({splits[f"sad/s{s}_{take}.wav"] for take in range(4)}) == 1 for s in range(5))
    assert set(splits.values()) == {"train", "val", "test"}

    unknown, _ = read_folder(tmp_path, Naming())
    assert sorted(draw_splits(unknown, seed=0).values()) == sorted(
        ["train"] * 16 + ["val"] * 2 + ["test"] * 2
    )


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_folder(tmp_path / "none", Naming())
    touch(tmp_path, "a.wav")
    with pytest.raises(InputError, match=r"holds no sound files .* in folders named by label"):
        read_folder(tmp_path, Naming())


@pytest.mark.skipif(not EMODB.is_dir(), reason="Emo-DB is not on this machine")
def test_emodb() -> None:
    corpus, _ = read_folder(EMODB, EMODB_NAMING)
    assert len(corpus.utterances) == 535
    assert corpus.bad == ()
    assert len(corpus.labels) == 7
    assert len({row.speaker for row in corpus.utterances}) == 10
